"""Functions: configuration, variables and active deployment."""

from datetime import timedelta
from typing import Any

import pytest

from annals.domain.commands.deployments import complete_build, delete_deployment
from annals.domain.commands.functions import activate_deployment
from annals.domain.errors import (
    BuildNotReady,
    DeploymentNotFound,
    FunctionAlreadyExists,
    VariableAlreadyExists,
    VariableCannotUnsetSecret,
    VariableNotFound,
)
from annals.domain.function import Function
from tests.unit.domain.given import ARTEFACT, configuration, given_deployment, given_function, variable


def names(function: Function) -> list[str]:
    return [type(event).__name__ for event in function.collect_events()]


def test_used_id_is_rejected() -> None:
    with pytest.raises(FunctionAlreadyExists):
        Function.create(given_function(), project_id="p", function_id="f", configuration=configuration())


def test_deleted_id_begins_a_new_incarnation() -> None:
    former = given_function()
    former.add_variable(variable())
    former.delete()

    fresh = Function.create(former, project_id="p", function_id="f", configuration=configuration(name="g"))

    assert fresh.version == former.version + 1
    assert fresh.variables == {}
    assert not fresh.deleted
    assert fresh.configuration.name == "g"


def test_update_to_the_same_configuration_records_nothing() -> None:
    function = given_function()
    function.update(configuration())
    assert names(function) == []


@pytest.mark.parametrize("field", ["name", "entrypoint", "commands", "provider_root_directory", "runtime"])
def test_changed_build_input_makes_the_function_not_live(field: str) -> None:
    function = given_function()
    function.update(configuration(**{field: "python-3.12"}))
    assert function.live is False


def test_update_without_build_inputs_makes_the_function_live() -> None:
    function = given_function()
    function.add_variable(variable())
    assert function.live is False

    function.update(configuration(timeout=20))

    assert function.live is True


def test_update_names_the_fields_that_differ() -> None:
    function = given_function()
    function.update(configuration(timeout=20, name="g"))
    (event,) = function.collect_events()
    assert isinstance(event, Function.Updated)
    assert sorted(event.changed) == ["name", "timeout"]


def test_second_activation_records_nothing() -> None:
    function, deployment = given_function(), given_deployment("ready")
    activate_deployment(function, deployment)
    activate_deployment(function, deployment)
    assert names(function) == ["DeploymentActivated"]


def test_only_a_ready_deployment_of_the_same_function_can_be_activated() -> None:
    with pytest.raises(BuildNotReady):
        activate_deployment(given_function(), given_deployment("building"))
    foreign = given_deployment("ready")
    foreign.function_id = "other"
    with pytest.raises(DeploymentNotFound):
        activate_deployment(given_function(), foreign)


def test_activating_an_older_deployment_is_recorded_as_a_rollback() -> None:
    function, older, newer = given_function(), given_deployment("ready", deployment_id="d1"), given_deployment("ready")
    activate_deployment(function, newer)
    activate_deployment(function, older)
    last = function.collect_events()[-1]
    assert isinstance(last, Function.DeploymentActivated)
    assert last.reason == "rollback"


def test_slow_older_build_does_not_replace_a_newer_active_deployment() -> None:
    function, older, newer = (
        given_function(),
        given_deployment("building", deployment_id="d1"),
        given_deployment("ready"),
    )
    function.activate("d", newer.created_on, "built")
    assert older.created_on < newer.created_on
    fields: dict[str, Any] = {"milliseconds": 1, "specification": "", "logs_digest": "", "logs_size": 0}

    complete_build(function, older, epoch=1, artefact=ARTEFACT, activate=True, **fields)

    assert older.status == "ready"
    assert function.deployment_id == "d"


def test_build_that_succeeds_makes_the_function_live() -> None:
    function, deployment = given_function(), given_deployment("building")
    function.add_variable(variable())
    fields: dict[str, Any] = {"milliseconds": 1, "specification": "", "logs_digest": "", "logs_size": 0}
    complete_build(function, deployment, epoch=1, artefact=ARTEFACT, activate=True, **fields)
    assert function.deployment_id == "d"
    assert function.live is True


def test_activation_on_request_does_not_touch_live() -> None:
    function = given_function()
    function.add_variable(variable())
    activate_deployment(function, given_deployment("ready"))
    assert function.live is False


def test_deleting_the_active_deployment_leaves_none_active() -> None:
    function, deployment = given_function(), given_deployment("ready")
    activate_deployment(function, deployment)
    delete_deployment(function, deployment)
    assert function.deployment_id == ""
    assert function.deployment_created_at is None
    assert deployment.deleted


def test_two_variables_never_share_a_key_or_an_id() -> None:
    function = given_function()
    function.add_variable(variable("v1", "A"))
    for taken in (variable("v1", "B"), variable("v2", "A")):
        with pytest.raises(VariableAlreadyExists):
            function.add_variable(taken)
    function.add_variable(variable("v2", "B"))
    with pytest.raises(VariableAlreadyExists):
        function.change_variable("v2", key="A", sealed=None, secret=None)


def test_secret_never_becomes_readable_again() -> None:
    function = given_function()
    function.add_variable(variable(secret=True))
    with pytest.raises(VariableCannotUnsetSecret):
        function.change_variable("v", key=None, sealed=None, secret=False)


def test_changed_variable_keeps_fields_that_were_not_sent() -> None:
    function = given_function()
    function.add_variable(variable())
    function.change_variable("v", key="B", sealed=None, secret=None)
    assert function.variable("v").sealed == "sealed"
    assert function.variable("v").key == "B"
    event = function.collect_events()[-1]
    assert isinstance(event, Function.VariableChanged)
    assert event.changed == ["key"]


def test_removed_variable_is_not_found() -> None:
    function = given_function()
    function.add_variable(variable())
    function.remove_variable("v")
    with pytest.raises(VariableNotFound):
        function.variable("v")


def test_older_deployment_by_one_moment_is_older() -> None:
    function, deployment = given_function(), given_deployment("ready")
    function.activate("d", deployment.created_on, "built")
    assert not function.takes_over(deployment.created_on - timedelta(microseconds=1))
    assert function.takes_over(deployment.created_on + timedelta(microseconds=1))

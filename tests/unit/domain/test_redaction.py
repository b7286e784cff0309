"""Events and states are shown without secrets."""

from typing import Any

import pytest

from annals.domain.function import Configuration, Function
from annals.domain.project import ApiKey, Project
from annals.domain.redaction import FieldChange, describe, differences, event_fields
from annals.domain.user import User
from annals.domain.variables import Variable

CONFIGURATION = Configuration(
    name="Hello", runtime="node-22", build_specification="s-1vcpu-1gb", runtime_specification="s-1vcpu-512mb"
)
VARIABLE = Variable(variable_id="v_1", key="TOKEN", sealed="v1.k.s.secret", secret=True, fingerprint="f00")


def function() -> Function:
    made = Function.create(None, project_id="p", function_id="f", configuration=CONFIGURATION)
    made.collect_events()
    return made


def texts(value: Any) -> str:
    return repr(value)


def test_event_fields_have_wire_names() -> None:
    made = Function.create(None, project_id="p", function_id="f", configuration=CONFIGURATION)
    (event,) = made.collect_events()

    tree = event_fields(event)

    assert tree["functionId"] == "f"
    assert tree["configuration"]["buildSpecification"] == "s-1vcpu-1gb"
    assert "originatorId" not in tree
    assert "metadata" not in tree


def test_variable_value_appears_as_its_fingerprint() -> None:
    one = function()
    one.add_variable(VARIABLE)
    (event,) = one.collect_events()

    assert event_fields(event)["variable"] == {
        "variableId": "v_1",
        "key": "TOKEN",
        "value": "fingerprint:f00",
        "secret": True,
    }
    assert "secret" not in texts(describe(one)).replace("'variables.v_1.secret'", "")


@pytest.mark.parametrize("digest", ["d" * 64])
def test_digests_of_secrets_are_never_shown(digest: str) -> None:
    project = Project.create(None, project_id="p", name="P")
    project.add_key(ApiKey(key_id="k", name="ci", digest=digest, scopes=["functions.read"]))

    assert digest not in texts([event_fields(event) for event in project.pending_events] + [describe(project)])


def test_changed_password_shows_a_digest_only() -> None:
    user = User.create(None, project_id="p", user_id="u", name="N", email="", phone="", sealed_password="sealed-one")
    before = describe(user)
    user.set_password("sealed-two")

    changes = differences(before, describe(user))

    assert [change.field for change in changes] == ["password"]
    assert "sealed-" not in texts(changes)


def test_differences_name_each_field_with_both_values() -> None:
    one = function()
    one.add_variable(VARIABLE)
    before = describe(one)

    one.change_variable("v_1", key=None, sealed=("v1.other", "f11"), secret=None)
    one.delete()

    assert differences(before, describe(one)) == [
        FieldChange("deleted", None, True),
        FieldChange("variables.v_1.value", "fingerprint:f00", "fingerprint:f11"),
    ]


def test_new_state_differs_from_none_and_equal_states_do_not_differ() -> None:
    changes = differences({}, describe(function()))

    assert FieldChange("name", None, "Hello") in changes
    assert not [change for change in changes if change.latter in ("", [], {}, None)]
    assert differences(describe(function()), describe(function())) == []

"""What is told of events and states: everything but secrets."""

from typing import Any

import pytest

from annals.domain.function import Configuration, Function
from annals.domain.project import ApiKey, Project
from annals.domain.redaction import Change, described, differences, told
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


def test_an_event_tells_its_own_fields_by_the_names_of_the_wire() -> None:
    made = Function.create(None, project_id="p", function_id="f", configuration=CONFIGURATION)
    (event,) = made.collect_events()

    tree = told(event)

    assert tree["functionId"] == "f"
    assert tree["configuration"]["buildSpecification"] == "s-1vcpu-1gb"
    assert "originatorId" not in tree
    assert "metadata" not in tree


def test_a_variable_is_told_by_its_fingerprint() -> None:
    one = function()
    one.add_variable(VARIABLE)
    (event,) = one.collect_events()

    assert told(event)["variable"] == {
        "variableId": "v_1",
        "key": "TOKEN",
        "value": "fingerprint:f00",
        "secret": True,
    }
    assert "secret" not in texts(described(one)).replace("'variables.v_1.secret'", "")


@pytest.mark.parametrize("digest", ["d" * 64])
def test_digests_of_secrets_are_told_to_nobody(digest: str) -> None:
    project = Project.create(None, project_id="p", name="P")
    project.add_key(ApiKey(key_id="k", name="ci", digest=digest, scopes=["functions.read"]))

    assert digest not in texts([told(event) for event in project.pending_events] + [described(project)])


def test_a_sealed_password_is_told_as_changed_but_not_as_it_is() -> None:
    user = User.create(None, project_id="p", user_id="u", name="N", email="", phone="", sealed_password="sealed-one")
    before = described(user)
    user.set_password("sealed-two")

    changes = differences(before, described(user))

    assert [change.field for change in changes] == ["password"]
    assert "sealed-" not in texts(changes)


def test_differences_name_each_field_with_both_values() -> None:
    one = function()
    one.add_variable(VARIABLE)
    before = described(one)

    one.change_variable("v_1", key=None, sealed=("v1.other", "f11"), secret=None)
    one.delete()

    assert differences(before, described(one)) == [
        Change("deleted", None, True),
        Change("variables.v_1.value", "fingerprint:f00", "fingerprint:f11"),
    ]


def test_what_begins_differs_from_nothing_and_equal_states_do_not_differ() -> None:
    changes = differences({}, described(function()))

    assert Change("name", None, "Hello") in changes
    assert not [change for change in changes if change.latter in ("", [], {}, None)]
    assert differences(described(function()), described(function())) == []

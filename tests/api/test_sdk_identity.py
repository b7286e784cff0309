"""Users, sessions and teams through the official SDKs, and functions that run as a user (behaviours.md A, F, G)."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.api import code
from tests.api.conftest import create_function, deploy
from tests.api.sdks import Sdk, SdkError, start
from tests.api.test_sdk_executions import ended
from tests.client import Client
from tests.instance import AnnalsInstance

As = Callable[[str, str], Sdk]


@pytest.fixture
def as_(annals_instance: AnnalsInstance, sdk: Sdk) -> Iterator[As]:
    """Return a function that starts the same SDK with another credential."""
    started: list[Sdk] = []

    def begin(kind: str, credential: str) -> Sdk:
        started.append(start(sdk.name, annals_instance.endpoint, annals_instance.project, credential, kind))
        return started[-1]

    yield begin
    for one in started:
        one.stop()


def refused(sdk: Sdk, method: str, **sent: Any) -> tuple[int | None, str]:
    with pytest.raises(SdkError) as error:
        sdk.call(method, **sent)
    return error.value.code, error.value.type


def new_user(sdk: Sdk, **fields: Any) -> str:
    return str(sdk.call("users.create", userId="unique()", **fields)["$id"])


def session_of(sdk: Sdk, user_id: str) -> str:
    return str(sdk.call("users.createSession", userId=user_id)["secret"])


def unique(name: str, sdk: Sdk) -> str:
    return f"{name}.{''.join(c for c in sdk.name if c.isalnum())}@x.test"


@pytest.fixture(scope="module")
def opened(sdk: Sdk, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the id of an echo function whose `execute` list the tests change."""
    function_id = create_function(sdk, name="opened")
    folder: Path = tmp_path_factory.mktemp("opened")
    deployment = deploy(sdk, function_id, code.archive(folder, code.echo("opened")))
    assert deployment["status"] == "ready", deployment["buildLogs"]
    return function_id


def test_user_is_created_changed_listed_and_deleted(sdk: Sdk) -> None:
    email = unique("ada", sdk)
    made = sdk.call("users.create", userId="unique()", email=email, password="password8", name="Ada")
    user_id = made["$id"]

    assert (made["email"], made["name"], made["status"], made["hash"]) == (email, "Ada", True, "argon2")
    assert sdk.call("users.get", userId=user_id)["$createdAt"] == made["$createdAt"]
    assert sdk.call("users.updateName", userId=user_id, name="A. L.")["name"] == "A. L."
    assert sdk.call("users.updateEmail", userId=user_id, email=f"new.{email}")["email"] == f"new.{email}"
    assert sdk.call("users.updateLabels", userId=user_id, labels=["vip"])["labels"] == ["vip"]
    assert sdk.call("users.updateEmailVerification", userId=user_id, emailVerification=True)["emailVerification"]
    assert sdk.call("users.updateStatus", userId=user_id, status=False)["status"] is False
    wanted = json.dumps({"method": "equal", "attribute": "email", "values": [f"new.{email}"]})
    listed = sdk.call("users.list", queries=[wanted])
    assert (listed["total"], [row["$id"] for row in listed["users"]]) == (1, [user_id])
    sdk.call("users.delete", userId=user_id)
    assert refused(sdk, "users.get", userId=user_id) == (404, "user_not_found")


def test_guest_signs_up_and_in_and_out(sdk: Sdk, as_: As) -> None:
    guest, email = as_("none", ""), unique("bob", sdk)
    made = guest.call("account.create", userId="unique()", email=email, password="password8", name="Bob")
    wrong = refused(guest, "account.createEmailPasswordSession", email=email, password="password9")
    session = sdk.call("account.createEmailPasswordSession", email=email, password="password8")
    assert wrong == (401, "user_invalid_credentials")
    assert session["userId"] == made["$id"]

    bob = as_("session", session["secret"])
    assert bob.call("account.get")["email"] == email
    assert [one["current"] for one in bob.call("account.listSessions")["sessions"]] == [True]
    token = sdk.call("users.createJWT", userId=made["$id"], sessionId=session["$id"])["jwt"]
    by_token = as_("jwt", token)
    assert by_token.call("account.get")["$id"] == made["$id"]
    bob.call("account.deleteSession", sessionId="current")
    assert refused(bob, "account.get") == (401, "general_unauthorized_scope")
    assert refused(by_token, "account.get") == (401, "general_unauthorized_scope")
    assert refused(as_("jwt", "garbage"), "account.get") == (401, "user_jwt_invalid")


def test_team_is_visible_to_its_members(sdk: Sdk, as_: As) -> None:
    user_id = new_user(sdk)
    member = as_("session", session_of(sdk, user_id))
    team = sdk.call("teams.create", teamId="unique()", name="Team")

    assert refused(member, "teams.get", teamId=team["$id"]) == (404, "team_not_found")
    added = sdk.call("teams.createMembership", teamId=team["$id"], roles=["dev"], userId=user_id)
    assert (added["confirm"], added["roles"], added["teamName"]) == (True, ["dev"], "Team")
    assert member.call("teams.get", teamId=team["$id"])["total"] == 1
    changed = sdk.call("teams.updateMembership", teamId=team["$id"], membershipId=added["$id"], roles=["ops"])
    assert changed["roles"] == ["ops"]
    assert sdk.call("teams.listMemberships", teamId=team["$id"])["total"] == 1
    sdk.call("teams.deleteMembership", teamId=team["$id"], membershipId=added["$id"])
    own = member.call("teams.create", teamId="unique()", name="Own")
    assert own["total"] == 1
    member.call("teams.delete", teamId=own["$id"])
    sdk.call("teams.delete", teamId=team["$id"])
    assert refused(sdk, "teams.get", teamId=team["$id"]) == (404, "team_not_found")


@pytest.mark.behaviours(5, 101, 102, 104, 106, 107, 121, 122, 128)
def test_users_run_permitted_functions_and_see_their_own_executions(sdk: Sdk, as_: As, opened: str) -> None:
    one, two = new_user(sdk, email=unique("u1", sdk)), new_user(sdk)
    u1, u2 = as_("session", session_of(sdk, one)), as_("session", session_of(sdk, two))
    guest = as_("none", "")
    settings = {"functionId": opened, "name": "opened"}

    sdk.call("update", **settings, execute=[f"user:{one}"])
    mine = u1.call("createExecution", functionId=opened)
    assert (mine["status"], mine["$permissions"]) == ("completed", [f'read("user:{one}")'])
    assert (mine["logs"], mine["errors"]) == ("", "")
    assert refused(u2, "createExecution", functionId=opened) == (401, "user_unauthorized")
    assert refused(guest, "createExecution", functionId=opened) == (401, "user_unauthorized")
    assert refused(u1, "list") == (401, "general_unauthorized_scope")

    sdk.call("update", **settings, execute=["users"])
    theirs = u2.call("createExecution", functionId=opened)
    listed = u1.call("listExecutions", functionId=opened)
    assert [row["$id"] for row in listed["executions"]] == [mine["$id"]]
    assert listed["total"] == 1
    unseen = refused(u1, "getExecution", functionId=opened, executionId=theirs["$id"])
    assert unseen == (404, "execution_not_found")
    undeleted = refused(u1, "deleteExecution", functionId=opened, executionId=mine["$id"])
    assert undeleted == (404, "function_not_found")

    sdk.call("update", **settings, execute=[])
    assert refused(u1, "createExecution", functionId=opened) == (401, "user_unauthorized")
    assert sdk.call("createExecution", functionId=opened)["status"] == "completed"
    sdk.call("update", **settings, execute=["any"], enabled=False)
    assert refused(u1, "createExecution", functionId=opened) == (404, "function_not_found")


@pytest.mark.behaviours(113)
def test_code_acts_as_its_caller_in_synchronous_and_asynchronous_calls(sdk: Sdk, as_: As, opened: str) -> None:
    user_id = new_user(sdk)
    user = as_("session", session_of(sdk, user_id))
    sdk.call("update", functionId=opened, name="opened", execute=["users"], scopes=["users.read"])

    seen = json.loads(user.call("createExecution", functionId=opened)["responseBody"])["headers"]
    assert seen["x-appwrite-user-id"] == user_id
    assert as_("jwt", seen["x-appwrite-user-jwt"]).call("account.get")["$id"] == user_id
    handed = as_("key", seen["x-appwrite-key"])
    assert handed.call("users.get", userId=user_id)["$id"] == user_id
    assert refused(handed, "users.delete", userId=user_id) == (401, "general_unauthorized_scope")

    later = user.call("createExecution", functionId=opened, **{"async": True})
    execution = ended(sdk, opened, later["$id"])
    headers = json.loads(execution["logs"].splitlines()[0])["headers"]
    assert headers["x-appwrite-user-id"] == user_id
    assert as_("jwt", headers["x-appwrite-user-jwt"]).call("account.get")["$id"] == user_id


@pytest.mark.behaviours(150)
def test_variables_of_the_project_reach_the_code(sdk: Sdk, opened: str, annals_instance: AnnalsInstance) -> None:
    client = Client(annals_instance.endpoint, annals_instance.headers)
    key = f"X{sdk.name.count('=')}{len(sdk.name)}"
    fields = {"variableId": "unique()", "key": key, "value": "1"}
    variable = client.call("POST", "/project/variables", json=fields)

    def seen() -> str | None:
        body = json.loads(sdk.call("createExecution", functionId=opened)["responseBody"])
        value: str | None = body["env"].get(key)
        return value

    try:
        assert seen() == "1"
        sdk.call("createVariable", functionId=opened, variableId="unique()", key=key, value="2")
        assert seen() == "2"
    finally:
        client.call("DELETE", f"/project/variables/{variable['$id']}")

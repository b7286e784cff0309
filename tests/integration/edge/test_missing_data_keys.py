"""Values whose data key is missing, as after an import without keys: errors name them, and all else is served."""

from typing import Any

import pytest

from annals.app.services import Services
from annals.application.executions.redrive import Redriver
from annals.domain.errors import DeadLetterNotFound
from annals.domain.execution import Execution
from annals.store.secrets.vault import Vault, master_key
from tests.integration.edge import given
from tests.integration.edge.client import Client
from tests.integration.edge.executor import FakeExecutor
from tests.integration.edge.test_account import ADA, signed_up
from tests.integration.edge.test_dead_letters import dead_letter, retried_function


async def seal_under_a_missing_key(services: Services, table: str = "variables", column: str = "sealed") -> None:
    """Seal values as an import without keys leaves them: under a data key that is missing."""
    await services.database.execute(
        f"UPDATE {table} SET {column} = regexp_replace({column}, '^v1[.][^.]+', 'v1.gone')"  # noqa: S608 - ours
    )


async def variables(services: Services, client: Client, *, running: bool = True) -> str:
    """Create a function with unreadable open and secret variables of its own and of its project."""
    function_id = await (given.running_function(services, client) if running else given.function(client))
    for path in (f"/v1/functions/{function_id}/variables", "/v1/project/variables"):
        for key, secret in (("OPEN", False), ("HIDDEN", True)):
            reply = await client.post(path, variableId=f"{key}{path[4]}", key=key + path[4], value="v", secret=secret)
            assert reply.status == 201, reply.body
    await seal_under_a_missing_key(services)
    return function_id


def shown(variables: list[dict[str, Any]]) -> list[tuple[str, str, bool]]:
    return [(one["key"], one["value"], one["secret"]) for one in variables]


async def test_variables_are_listed_by_name_and_flag_with_empty_values(services: Services, key: Client) -> None:
    function_id = await variables(services, key, running=False)
    path = f"/v1/functions/{function_id}"
    own, of_project = ([(f"OPEN{kind}", "", False), (f"HIDDEN{kind}", "", True)] for kind in "fp")

    assert shown((await key.get("/v1/functions")).json["functions"][0]["vars"]) == own
    assert shown((await key.get(path)).json["vars"]) == own
    assert shown((await key.get(f"{path}/variables")).json["variables"]) == own
    assert shown([(await key.get(f"{path}/variables/OPENf")).json]) == own[:1]
    assert shown((await key.get("/v1/project/variables")).json["variables"]) == of_project
    assert shown([(await key.get("/v1/project/variables/OPENp")).json]) == of_project[:1]


async def test_execution_fails_with_the_name_of_the_variable_until_it_is_set_again(
    services: Services, plain: Client, executor: FakeExecutor
) -> None:
    function_id = await variables(services, plain)
    await plain.json("PUT", f"/v1/functions/{function_id}/policy", {"scaling": {"concurrency": 1}})

    for name in ("OPENp", "HIDDENp", "OPENf", "HIDDENf"):
        failed = await given.execute(plain, function_id)
        assert (failed.status, failed.json["status"]) == (201, "failed")
        (ended,) = [
            recorded_event.event
            for recorded_event in await services.log.reader.of_stream(Execution.stream("p1", failed.json["$id"]))
            if isinstance(recorded_event.event, Execution.Failed)
        ]
        assert ended.reason == "variable_unreadable"
        assert f"The variable {name} cannot be read" in ended.message
        assert f"The variable {name} cannot be read" in failed.json["errors"]
        assert "annals export --with-keys" in ended.message
        owner = "project" if name.endswith("p") else f"functions/{function_id}"
        again = await plain.put(f"/v1/{owner}/variables/{name}", key=name, value="again")
        assert again.status == 200, again.body
    assert executor.runs == []

    assert (await given.execute(plain, function_id)).json["status"] == "completed"
    (run,) = executor.runs
    assert [run.environment[name] for name in ("OPENp", "HIDDENf")] == ["again", "again"]


async def test_unreadable_password_matches_nothing_until_it_is_set_again(services: Services, plain: Client) -> None:
    guest = plain.with_(x_appwrite_key=None)
    await signed_up(guest)
    await seal_under_a_missing_key(services, "users", "sealed_password")

    reply = await guest.post("/v1/account/sessions/email", **ADA)
    assert reply.error == (401, "user_invalid_credentials")
    await plain.json("PATCH", "/v1/users/ada/password", {"password": "password9"})
    assert (await guest.post("/v1/account/sessions/email", **{**ADA, "password": "password9"})).status == 201


async def test_dead_letter_with_unreadable_input_is_not_redriven(services: Services, plain: Client) -> None:
    function_id = await retried_function(services, plain)
    letter = await dead_letter(services, plain, function_id, body="precious")
    await services.database.execute("DELETE FROM data_keys")
    vault = Vault(services.database, master_key(services.settings.master_key))
    redriver = Redriver(services.log, vault, services.environments, project_id="p1")

    incarnation = (await services.log.load(Execution.key("p1", letter))).function_incarnation
    with pytest.raises(DeadLetterNotFound, match="data key"):
        await redriver.redrive(letter, function_id=function_id, incarnation=incarnation, meta=given.META)

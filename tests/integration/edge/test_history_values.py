"""Values of variables in histories and diffs: clear text for callers that may read variables, fingerprints
otherwise."""

from typing import Any

from annals.app.identity.secret_keys import digest
from annals.app.services import Services
from annals.domain.project import ApiKey, Project
from annals.store.log.log import Meta
from tests.integration.edge import given
from tests.integration.edge.client import Client
from tests.integration.edge.test_history import changes


async def test_values_that_are_no_secrets_are_shown_to_callers_that_may_read_variables(
    services: Services, plain: Client
) -> None:
    scopes = {"events": ["events.read"], "functions": ["events.read", "functions.read"]}
    for name, granted in scopes.items():
        key = ApiKey(key_id=name, name=name, digest=digest(name), scopes=granted)
        await services.log.run(Project.add_key, Project.key("p1"), meta=Meta(actor="test"), key=key)
    function_id = await given.function(plain)
    began = await services.log.reader.position()
    function, project = f"/v1/functions/{function_id}", "/v1/project"
    for path in (function, project):
        await plain.post(f"{path}/variables", variableId=f"open{path[4]}", key="OPEN", value="first", secret=False)
        await plain.put(f"{path}/variables/open{path[4]}", key="OPEN", value="second")
        await plain.post(f"{path}/variables", variableId=f"hidden{path[4]}", key="HIDDEN", value="hunter2", secret=True)

    async def values(client: Client, path: str) -> list[tuple[Any, Any]]:
        since = {"from": str(began)} if path.endswith("/diff") else {}
        reply = await client.get(path, **since)
        assert reply.status == 200, reply.body
        assert b"hunter2" not in reply.body
        shown = [change for event in reply.json.get("events", [reply.json]) for change in event["changes"]]
        field = f"variables.open{path[4]}.value"
        return [(change["from"], change["to"]) for change in shown if change["field"] == field]

    fully = [(None, "first"), ("first", "second")]
    assert await values(plain, f"{function}/history") == await values(plain, f"{project}/history") == fully
    assert await values(plain, f"{function}/diff") == [(None, "second")]
    reader = plain.with_(x_appwrite_key="functions")
    assert await values(reader, f"{function}/history") == fully
    assert "first" not in str(await values(reader, f"{project}/history"))
    blind = plain.with_(x_appwrite_key="events")
    for path in (f"{function}/history", f"{project}/history", f"{function}/diff"):
        shown = await values(blind, path)
        assert shown
        assert all(to.startswith("fingerprint:") for _, to in shown)


async def test_value_of_a_variable_that_becomes_secret_is_a_fingerprint_from_then_on(plain: Client) -> None:
    function_id = await given.function(plain)
    path = f"/v1/functions/{function_id}"
    await plain.post(f"{path}/variables", variableId="v", key="A", value="open", secret=False)
    await plain.put(f"{path}/variables/v", key="A", secret=True)
    await plain.put(f"{path}/variables/v", key="A", value="hunter2")

    *_, hidden, changed = (await plain.get(f"{path}/history")).json["events"]

    assert set(changes(hidden)) == {"variables.v.secret"}
    former, latter = changes(changed)["variables.v.value"]
    assert former.startswith("fingerprint:")
    assert latter.startswith("fingerprint:")
    assert former != latter

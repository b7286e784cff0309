"""`?dryRun=true` on every write: it returns the events that the write would record, and nothing is stored."""

import pytest

from annals.app.services import Services
from tests.integration.edge import given
from tests.integration.edge.authorisation_table import OK, TABLE, Row
from tests.integration.edge.authorisation_world import World
from tests.integration.edge.client import Client
from tests.integration.edge.test_dead_letters import dead_letter, retried_function

UNRECORDED = {
    "POST /v1/users/{userId}/jwts",
    "POST /v1/account/jwts",
    "POST /v1/account/jwt",
    "POST /v1/projects/{projectId}/jwts",
    "POST /v1/project/keys/ephemeral",
}
"""The answers of these are signed, and not recorded."""

WITHOUT_CAUSE = {"POST /v1/functions/{functionId}/dead-letters/redrive"}
"""These would change nothing here."""

BODIES = {f"{method} /v1/functions/{{functionId}}/policy": {"retries": {"attempts": 3}} for method in ("PUT", "PATCH")}
"""Bodies for rows of the table whose own body would change nothing."""


def writer(row: Row) -> str | None:
    """A caller that the table permits the write."""
    if row.console:
        return "console"
    return next((name for name in ("key", "member") if getattr(row, name) == OK), None)


async def kept(services: Services) -> tuple[int, int, list[str]]:
    """Return the log's end, the number of contents, and the keys of the blobs of deployments."""
    contents = await services.database.row("SELECT count(*) AS n FROM contents")
    assert contents is not None
    blobs = [blob.key for kind in ("sources", "artefacts") async for blob in services.blobs.list(kind)]
    return await services.log.reader.position(), contents["n"], blobs


@pytest.fixture
async def world(services: Services, anonymous: Client) -> World:
    made = World(services, anonymous)
    await made.fill()
    key, function_id = made.callers["key"], made.own["functionId"]
    assert (await key.put(f"/v1/functions/{function_id}", name="renamed since")).status == 200
    made.own["deploymentId"] = await given.upload(key, function_id, activate="false")
    await given.built(services, "p1", made.own["deploymentId"])
    return made


async def test_every_dry_run_returns_its_events_and_records_nothing(services: Services, world: World) -> None:
    before = await kept(services)
    answer: dict[str, list[str]] = {}
    for route, declared in TABLE.items():
        if route.startswith("GET "):
            continue
        row = declared.but(body=BODIES.get(route, declared.body))
        reply = await world.ask(world.callers[writer(row) or "key"], route, row, world.own)
        assert writer(row) is None or reply.status == 200, (route, reply.body)
        assert await kept(services) == before, route
        if reply.status == 200:
            assert reply.json["total"] == len(reply.json["events"])
            assert all(event["position"] is None for event in reply.json["events"])
            answer[route] = [event["type"] for event in reply.json["events"]]

    assert {route for route, types in answer.items() if not types} == UNRECORDED | WITHOUT_CAUSE
    ending = answer["DELETE /v1/projects/{projectId}"]
    assert ending[-1] == "project.deleted"
    assert {"function.deleted", "team.deleted", "user.deleted"} <= set(ending)


async def test_dry_run_of_several_redrives_returns_the_events_of_each(services: Services, plain: Client) -> None:
    function_id = await retried_function(services, plain)
    letters = {await dead_letter(services, plain, function_id, body="same") for _ in range(3)}
    before = await kept(services)

    path = f"/v1/functions/{function_id}/dead-letters"
    reply = await plain.send("POST", f"{path}/redrive", query="dryRun=true")

    events = reply.json["events"]
    assert [event["type"] for event in events].count("execution.requested") == 3
    assert letters < {event["resourceId"] for event in events}
    assert await kept(services) == before
    assert (await plain.get(path)).json["total"] == 3


async def test_dry_run_of_a_call_takes_no_concurrency_slot(services: Services, plain: Client) -> None:
    function_id = await given.running_function(services, plain)
    await plain.json("PUT", f"/v1/functions/{function_id}/policy", {"scaling": {"concurrency": 1}})
    before = await kept(services)

    reply = await plain.send("POST", f"/v1/functions/{function_id}/executions", query="dryRun=true")

    assert [event["type"] for event in reply.json["events"]] == ["execution.requested"]
    assert await kept(services) == before
    assert (await given.execute(plain, function_id)).status == 201

"""A project whose id was used before: it only reads its own log, and past states before it are empty."""

import asyncio
from datetime import UTC, datetime
from typing import NamedTuple
from urllib.parse import quote

import pytest

from annals.app.edge.edge import Edge
from annals.app.health.conservation import QUERIES, WINDOW
from annals.app.services import Services
from annals.application.deletion import end_project
from annals.store.log.archives import Archives
from annals.workers.cleanup import RetentionSweeper
from tests.integration.edge import given
from tests.integration.edge.client import Client, Following
from tests.integration.edge.given import user
from tests.integration.edge.reuse import META, create, recreate
from tests.integration.edge.test_as_of import follow
from tests.integration.proof.sealed import Sealed

CANARY = "formerly"
"""A part of every answer that the former project gave."""


class Former(NamedTuple):
    """The state before the project was deleted and created again, at the position `since`."""

    positions: list[int]
    moment: str
    deployment_id: str
    execution_id: str
    since: int


@pytest.fixture
async def former(services: Services, plain: Client) -> Former:
    first = await services.log.reader.position()
    function_id = await given.running_function(services, plain, functionId="f", name=f"{CANARY} a name")
    values = {"variableId": "v", "key": "K", "value": f"{CANARY} a value", "secret": False}
    assert (await plain.post(f"/v1/functions/{function_id}/variables", **values)).status == 201
    project_wide = {"variableId": "w", "key": "W", "value": f"{CANARY} wide", "secret": False}
    assert (await plain.post("/v1/project/variables", **project_wide)).status == 201
    assert (await plain.put("/v1/functions/f", name=f"{CANARY} another")).status == 200
    await user(plain, "ada", email=f"{CANARY}@x.test", name=CANARY)
    await plain.post("/v1/teams", teamId="t", name=f"{CANARY} a team")
    execution = (await given.execute(plain, function_id, path=f"/{CANARY}")).json["$id"]
    deployment = (await plain.get("/v1/functions/f/deployments")).json["deployments"][0]["$id"]
    last = await services.log.reader.position()
    moment = datetime.now(UTC).isoformat(timespec="milliseconds")
    await asyncio.sleep(0.002)  # this moment is not the one at which the next project is created
    reader = await services.log.reader.after(first, 1000, project="p1", until=last)
    since = await recreate(services)
    await follow(services)
    return Former([recorded_event.position for recorded_event in reader], moment, deployment, execution, since)


@pytest.fixture
async def fresh(services: Services, plain: Client, former: Former) -> Client:
    """A project that never had a predecessor, created after the other one."""
    assert former
    await create(services, "fresh", api_key="fresh-all")
    await follow(services)
    return plain.with_(x_appwrite_project="fresh", x_appwrite_key="fresh-all")


def _readable(former: Former) -> list[str]:
    function = "/v1/functions/f"
    return [
        *("/v1/functions", function, f"{function}/variables", f"{function}/variables/v", f"{function}/deployments"),
        *(f"{function}/deployments/{former.deployment_id}", f"{function}/executions", f"{function}/policy"),
        *(f"{function}/executions/{former.execution_id}", "/v1/functions/usage", f"{function}/usage", "/v1/usage"),
        *("/v1/usage/executions", f"{function}/executions/{former.execution_id}/logs"),
    ]


async def test_past_before_the_creation_is_that_of_a_project_which_did_not_exist(
    plain: Client, fresh: Client, former: Former
) -> None:
    for at in (*map(str, former.positions), former.moment, str(former.since - 1)):
        for path in _readable(former):
            ours, theirs = [await client.get(path, asOf=at) for client in (plain, fresh)]
            assert (ours.status, ours.body) == (theirs.status, theirs.body), (path, at)
            assert CANARY.encode() not in ours.body


async def test_past_after_the_creation_has_nothing_of_the_predecessor(
    services: Services, plain: Client, former: Former
) -> None:
    at = str(await services.log.reader.position())
    for path in _readable(former):
        reply = await plain.get(path, asOf=at)
        assert CANARY.encode() not in reply.body, path
    assert (await plain.get("/v1/functions", asOf=at)).json["total"] == 0
    assert (await plain.get("/v1/functions/f", asOf=at)).error == (404, "function_not_found")
    assert (await plain.get("/v1/usage", asOf=at)).json["total"]["total"] == {"count": 0}


async def test_events_of_the_predecessor_are_not_found(services: Services, plain: Client, former: Former) -> None:
    await Sealed(services.log, Archives(services.database, services.blobs), services.settings.folder).seal()
    listed = (await plain.get("/v1/events", ["""{"method":"limit","values":[100]}"""])).json

    assert [event["position"] for event in listed["events"]] == [former.since, former.since + 1]
    assert listed["total"] == 2
    for position in (*former.positions, former.since - 1):
        for path in ("", "/tree", "/proof"):
            assert (await plain.get(f"/v1/events/{position}{path}")).error == (404, "event_not_found")
    assert (await plain.get(f"/v1/events/{former.since}/proof")).status == 200
    assert (await plain.get(f"/v1/events/{former.since}/tree")).status == 200


async def test_histories_begin_with_the_project(services: Services, plain: Client, former: Former) -> None:
    paths = {
        "/v1/functions/f/history": "function_not_found",
        "/v1/functions/f/variables/v/history": "variable_not_found",
        f"/v1/functions/f/deployments/{former.deployment_id}/history": "deployment_not_found",
        f"/v1/functions/f/executions/{former.execution_id}/history": "execution_not_found",
        "/v1/users/ada/history": "user_not_found",
        "/v1/teams/t/history": "team_not_found",
        f"/v1/functions/f/executions/{former.execution_id}/configuration": "execution_not_found",
        f"/v1/functions/f/diff?from={former.positions[0]}&to={former.positions[-1]}": "function_not_found",
        f"/v1/functions/f/diff?from={former.since}": "function_not_found",
    }
    for path, missing in paths.items():
        where, _, query = path.partition("?")
        assert (await plain.send("GET", where, query=query)).error == (404, missing), path
    project = (await plain.get("/v1/project/history")).json
    assert [event["position"] for event in project["events"]] == [former.since, former.since + 1]
    for to in (former.positions[-1], former.moment):
        assert (await plain.post("/v1/functions/f/revert", to=to)).error == (404, "function_not_found")

    await given.function(plain, functionId="f", name="mine")
    await plain.put("/v1/functions/f", name="mine still")
    await user(plain, "ada", name="mine")

    answer = (await plain.get("/v1/functions/f/history")).json
    assert [(event["type"], event["position"] > former.since) for event in answer["events"]] == [
        ("function.created", True),
        ("function.updated", True),
    ]
    assert answer["total"] == 2
    newest = (await plain.get("/v1/functions/f/history", [given.query("orderDesc", "$sequence")])).json["events"]
    assert [event["type"] for event in newest] == ["function.updated", "function.created"]
    cursor = given.query("cursorAfter", None, str(former.positions[0]))
    assert (await plain.get("/v1/functions/f/history", [cursor])).error == (400, "general_cursor_not_found")
    (made,) = (await plain.get("/v1/users/ada/history")).json["events"]
    assert (made["type"], CANARY in str(made)) == ("user.created", False)
    assert await services.log.reader.position() > former.since


async def test_feed_begins_with_the_project_and_ends_with_it(
    services: Services, edge: Edge, plain: Client, former: Former
) -> None:
    following = Following(edge, plain.headers, query="after=0")
    seen = [await following.next() for _ in range(2)]
    assert [position for position, _ in seen] == [former.since, former.since + 1]

    await end_project(services.log, "p1", META)
    await create(services)
    deleted = await following.next()
    assert deleted[1] is not None
    assert deleted[1]["type"] == "project.deleted"
    async with asyncio.timeout(60):
        await following.task
    assert following.body.count(b"event: project.created") == 1


async def test_usage_of_the_predecessor_is_not_shown(plain: Client, former: Former) -> None:
    for query in ({}, {"asOf": str(former.since)}, {"from": "2000-01-01T00:00:00Z"}):
        text = "&".join(f"{name}={quote(value)}" for name, value in query.items())
        found = await plain.send("GET", "/v1/usage/executions", query=text)
        assert (found.status, found.json["executions"]) == (200, []), query
    assert (await plain.get("/v1/usage")).json["total"]["total"] == {"count": 0}


async def test_cleanup_after_the_predecessor_is_none_of_the_projects_events(
    services: Services, plain: Client, former: Former
) -> None:
    swept = await RetentionSweeper(services.log, execution_days=0).sweep_executions(datetime.now(UTC))
    await follow(services)
    assert swept
    position = await services.log.reader.position()

    events = (await plain.get("/v1/events")).json
    assert [event["position"] for event in events["events"]] == [former.since, former.since + 1]
    assert (await plain.get(f"/v1/events/{position}")).error == (404, "event_not_found")


async def test_idempotency_key_of_the_predecessor_is_free(services: Services, plain: Client) -> None:
    asking = plain.with_(idempotency_key="once")
    values = {"functionId": "unique()", "name": "fn", "runtime": "node-22"}
    former = (await asking.post("/v1/functions", **values)).json["$id"]
    await recreate(services)

    made = await asking.post("/v1/functions", **values)
    again = await asking.post("/v1/functions", **values)

    assert (made.status, "idempotent-replayed" in made.headers) == (201, False)
    assert made.json["$id"] != former
    assert (again.json["$id"], again.headers["idempotent-replayed"]) == (made.json["$id"], "true")


async def test_drift_of_usage_stays_zero_when_an_id_is_used_again(services: Services, former: Former) -> None:
    assert former
    assert await services.database.value(QUERIES["usage"], {"window": WINDOW, "ends_since": 0}) == 0


@pytest.mark.parametrize(
    "at", ["0001-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00", "0001-01-01T00:00:00-14:00", "1969-12-31T23:59:59Z"]
)
async def test_earliest_moments_are_before_everything(plain: Client, at: str) -> None:
    await given.function(plain, functionId="f")
    for path in ("/v1/functions", "/v1/functions/usage", "/v1/usage", "/v1/usage/executions"):
        for period in ("24h", "30d", "90d"):
            reply = await plain.get(path, asOf=at, **({"range": period} if path == "/v1/functions/usage" else {}))
            expected = 400 if at.endswith("+14:00") else 200  # an offset that leads out of the calendar
            assert reply.status == expected, (path, reply.body)

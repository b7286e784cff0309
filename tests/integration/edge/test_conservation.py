"""Conservation: accepted work has ended or is open. Gauges stay zero, and rise if something is lost."""

import re

import pytest

from annals.app.health.conservation import Conservation
from annals.app.services import Services
from annals.projections.following import FOLLOWING
from annals.store.log.follower import Follower
from annals.store.postgres.listener import Listener
from tests.integration.edge import given
from tests.integration.edge.client import Client

GAUGE = re.compile(r'^annals_conservation_drift\{of="(\w+)"\} (\d+)$', re.MULTILINE)
NONE = {"executions": 0, "builds": 0, "usage": 0}


async def counted(services: Services) -> None:
    follower = Follower("usage", FOLLOWING["usage"].handle, services.log.reader, Listener(services.database))
    while await follower.catch_up():
        pass


async def metrics(services: Services, client: Client) -> str:
    services.conservation = Conservation(services.database).text  # present figures, not cached ones
    return (await client.get("/metrics")).body.decode()


async def drift(services: Services, client: Client) -> dict[str, int]:
    return {kind: int(number) for kind, number in GAUGE.findall(await metrics(services, client))}


@pytest.fixture
async def used(services: Services, plain: Client) -> str:
    """Create a function with executions that ended, wait, are scheduled and were deleted, and a deleted function
    with its own."""
    function_id = await given.running_function(services, plain)
    for sent in ({}, {"async": True}, {"async": True, "scheduledAt": "2099-01-01T00:00:00.000+00:00"}):
        assert (await given.execute(plain, function_id, **sent)).status in {201, 202}
    deleted = (await given.execute(plain, function_id)).json["$id"]
    assert (await plain.delete(f"/v1/functions/{function_id}/executions/{deleted}")).status == 204
    gone = await given.running_function(services, plain)
    assert (await given.execute(plain, gone, **{"async": True})).status == 202
    assert (await plain.delete(f"/v1/functions/{gone}")).status == 204
    await counted(services)
    return function_id


async def lost_with_its_function(services: Services, plain: Client) -> None:
    """Record an accepted execution and build of a deleted function without any later event."""
    function_id = await given.running_function(services, plain)
    assert (await given.execute(plain, function_id, **{"async": True})).status == 202
    sent = {"activate": "true"}
    assert (await plain.upload(f"/v1/functions/{function_id}/deployments", sent, file=given.SOURCE)).status == 202
    await counted(services)
    assert (await plain.delete(f"/v1/functions/{function_id}")).status == 204
    await services.database.execute("DELETE FROM abandoned_builds")
    await services.database.execute("DELETE FROM executions WHERE function_id = %s", (function_id,))


async def test_gauges_stay_zero_for_every_outcome_of_executions(services: Services, plain: Client, used: str) -> None:
    text = await metrics(services, plain)

    assert {kind: int(number) for kind, number in GAUGE.findall(text)} == NONE
    assert 'annals_open{kind="executions",status="waiting"}' in text
    assert 'annals_follower_lag{name="usage"} 0' in text
    assert 'annals_follower_stopped{name="usage"} 0' in text


async def test_lost_execution_raises_the_gauge(services: Services, plain: Client, used: str) -> None:
    await services.database.execute("DELETE FROM executions WHERE function_id = %s AND status = 'waiting'", (used,))

    assert await drift(services, plain) == {**NONE, "executions": 1}


@pytest.mark.parametrize(("formerly", "shown"), [(False, 1), (True, 0)])
async def test_work_lost_with_its_function_raises_the_gauge_unless_it_predates_end_events(
    services: Services, plain: Client, *, formerly: bool, shown: int
) -> None:
    await lost_with_its_function(services, plain)
    if formerly:
        await services.database.execute("UPDATE schema_migrations SET applied_at = now()")

    assert await drift(services, plain) == {**NONE, "executions": shown, "builds": shown}


async def test_abandoned_builds_count_as_open(services: Services, plain: Client) -> None:
    function_id = await given.function(plain)
    sent = {"activate": "true"}
    assert (await plain.upload(f"/v1/functions/{function_id}/deployments", sent, file=given.SOURCE)).status == 202
    assert (await plain.delete(f"/v1/functions/{function_id}")).status == 204

    assert await drift(services, plain) == NONE


async def test_second_end_raises_the_gauge(services: Services, plain: Client, used: str) -> None:
    await services.database.execute(
        "INSERT INTO events (originator_id, originator_version, topic, state, recorded_at)"
        " SELECT originator_id, originator_version + 1, topic, state, now() FROM events"
        " WHERE topic = 'execution.completed' ORDER BY notification_id LIMIT 1"
    )

    assert (await drift(services, plain))["executions"] == 1


async def test_lost_build_raises_the_gauge(services: Services, plain: Client, used: str) -> None:
    await services.database.execute(
        "DELETE FROM events WHERE topic = 'deployment.build_succeeded' AND originator_id ="
        " (SELECT stream_id FROM deployments WHERE function_id = %s LIMIT 1)",
        (used,),
    )

    assert (await drift(services, plain))["builds"] == 1


async def test_uncounted_usage_raises_the_gauge(services: Services, plain: Client, used: str) -> None:
    await services.database.execute("UPDATE usage_cells SET executions = executions - 1 WHERE cube = 'total'")

    assert (await drift(services, plain))["usage"] == 1


async def test_stopped_follower_raises_the_alarm(services: Services, plain: Client, used: str) -> None:
    await services.database.execute("UPDATE checkpoints SET error = 'a row (secret, 7)' WHERE name = 'usage'")

    assert 'annals_follower_stopped{name="usage"} 1' in await metrics(services, plain)
    ready = await plain.get("/v1/health/ready")
    [answer] = [row["error"] for row in ready.json["followers"] if row["name"] == "usage"]
    assert (ready.status, "has stopped" in answer, "secret" in answer) == (503, True, False)


async def test_figures_are_cached_for_a_while(services: Services, plain: Client, used: str) -> None:
    assert await drift(services, plain) == NONE
    await services.database.execute("DELETE FROM executions WHERE function_id = %s AND status = 'waiting'", (used,))

    assert GAUGE.findall((await plain.get("/metrics")).body.decode())[0] == ("executions", "0")

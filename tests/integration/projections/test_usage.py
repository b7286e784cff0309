"""Usage: the sums that the follower books, and the events that a reader adds."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from annals.domain.commands import deployments as deployment_commands
from annals.domain.commands import executions as execution_commands
from annals.domain.deployment import Deployment
from annals.domain.execution import Execution
from annals.domain.function import Function
from annals.projections.usage import follower as usage
from annals.projections.usage.series import METRICS, QUERIES, Range, Scope, UsageSeries, read_usage
from annals.store.log.follower import Follower
from annals.store.postgres.listener import Listener
from tests.integration.projections.history import META, History, P

ZERO = dict.fromkeys(METRICS, 0)


@pytest.fixture
def follower(history: History) -> Follower:
    return Follower("usage", usage.follow, history.log.reader, Listener(history.database), batch=7)


async def catch_up(follower: Follower) -> None:
    while await follower.catch_up():
        pass


async def read(history: History, function_id: str | None = None, chosen: Range = "24h") -> UsageSeries:
    sequence = None if function_id is None else history.incarnations[function_id]
    scope = Scope(P, function_id, sequence)
    return await read_usage(history.database, history.log.reader, scope, chosen, datetime.now(UTC))


async def some_days_work(history: History) -> None:
    await history.function()
    await history.function("g")
    await history.upload("d1", size=50)
    await history.claim_build("d1")
    await history.finish_build("d1", seconds=2)
    await history.upload("d2", "g", size=7)
    await history.claim_build("d2")
    await history.fail_build("d2")
    await history.upload("d3", size=1000)
    keys = (Function.key(P, "f"), Deployment.key(P, "d3"))
    await history.log.run(deployment_commands.delete_deployment, *keys, meta=META)
    for number in range(4):
        await history.run(f"e{number}", run_ms=1500)
    await history.run("bad", run_ms=250, status_code=500)
    await history.run("other", "g", run_ms=1000)
    await history.request("canceled")
    await history.log.run(
        execution_commands.cancel_execution,
        Execution.key(P, "canceled"),
        meta=META,
        function_id="f",
        incarnation=history.incarnations["f"],
    )
    await history.request("still waiting")


OF_F = {
    **ZERO,
    "functions": 1,
    "deployments": 1,
    "deploymentsStorage": 50,
    "builds": 1,
    "buildsSuccess": 1,
    "buildsStorage": 300,
    "buildsTime": 2000,
    "buildsMbSeconds": 2048,
    "executions": 6,
    "executionsTime": 6250,
    "executionsMbSeconds": 4 * 768 + 128,
}
OF_ALL = {
    **OF_F,
    "functions": 2,
    "deployments": 2,
    "deploymentsStorage": 57,
    "builds": 2,
    "buildsFailed": 1,
    "buildsTime": 4000,
    "buildsMbSeconds": 4096,
    "executions": 7,
    "executionsTime": 7250,
    "executionsMbSeconds": 4 * 768 + 128 + 512,
}


async def test_usage_counts_events_before_the_follower(history: History) -> None:
    await some_days_work(history)

    assert (await read(history)).totals == OF_ALL
    assert (await read(history, "f")).totals == OF_F


async def test_usage_is_the_same_after_the_follower(history: History, follower: Follower) -> None:
    await some_days_work(history)
    await catch_up(follower)

    of_all, of_f = await read(history), await read(history, "f")

    assert (of_all.totals, of_f.totals) == (OF_ALL, OF_F)
    assert of_all.builds_time_average == 2000


async def test_usage_is_the_same_at_every_position_of_the_follower(history: History, follower: Follower) -> None:
    await some_days_work(history)
    while await follower.catch_up():
        of_all, of_f = await read(history), await read(history, "f")
        assert (of_all.totals, of_f.totals) == (OF_ALL, OF_F)
        assert (sum(of_all.series["executions"]), sum(of_f.series["executions"])) == (OF_ALL["executions"], 6)


@pytest.mark.parametrize(("chosen", "points", "step"), [("24h", 24, 1), ("30d", 30, 24), ("90d", 90, 24)])
async def test_series_have_a_point_for_every_period_and_the_last_is_now(
    history: History, follower: Follower, chosen: Range, points: int, step: int
) -> None:
    await some_days_work(history)
    await catch_up(follower)
    await history.run("one more", run_ms=100)

    found = await read(history, chosen=chosen)

    assert len(found.periods) == points
    assert {later - earlier for earlier, later in pairwise(found.periods)} == {timedelta(hours=step)}
    assert found.periods[-1] <= datetime.now(UTC) < found.periods[-1] + timedelta(hours=step)
    for word in METRICS:
        assert len(found.series[word]) == points
        assert sum(found.series[word]) == found.totals[word]
    assert found.series["executions"][-1] == 8


async def test_deleted_function_keeps_its_usage_but_no_deployments(history: History, follower: Follower) -> None:
    await some_days_work(history)
    await catch_up(follower)

    await history.delete_function()

    gone = {"functions": 1, "deployments": 1, "deploymentsStorage": 7}
    assert (await read(history)).totals == {**OF_ALL, **gone}
    await catch_up(follower)
    assert (await read(history)).totals == {**OF_ALL, **gone}
    await history.function()
    assert (await read(history, "f")).totals == {**ZERO, "functions": 1}


async def test_reader_waits_for_a_lagging_follower(
    history: History, follower: Follower, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("annals.projections.usage.recount._TAIL", 3)
    monkeypatch.setattr("annals.projections.usage.recount._WAIT_SECONDS", 0.2)
    await some_days_work(history)

    assert (await read(history)).totals == OF_ALL  # no follower: the reader counts the tail after the time-out
    await catch_up(follower)
    assert (await read(history)).totals == OF_ALL


async def test_booked_usage_is_read_without_the_log(history: History) -> None:
    database = history.database
    events = "INSERT INTO events (originator_id, originator_version, topic, state, recorded_at)"
    made = "SELECT format('execution:%%s:%%s', %s::text, n), 1, 'made.up', '', now() FROM generate_series(1, 5000) n"
    await database.execute(f"{events} {made}", (P,))
    newest = "INSERT INTO checkpoints SELECT 'usage', max(notification_id) FROM events"
    await database.execute(f"{newest} ON CONFLICT (name) DO UPDATE SET position = excluded.position")
    await database.execute("ANALYZE events, checkpoints")

    assert await database.rows(QUERIES["unbooked"], (P,)) == []
    plan = await database.rows(f"EXPLAIN {QUERIES['unbooked']}", (P,))
    assert not any("Seq Scan on events" in row["QUERY PLAN"] for row in plan)

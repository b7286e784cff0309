"""Usage at any position equals a recount of the log up to that position."""

from bisect import bisect_right
from collections import defaultdict
from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from annals.domain.commands.deployments import delete_deployment
from annals.domain.deployment import Deployment
from annals.domain.function import Function
from annals.projections.following import FOLLOWING
from annals.projections.usage.answer import answer_at
from annals.projections.usage.changes import UsageChanges
from annals.projections.usage.question import Question, edges_of
from annals.projections.usage.recount import NotBooked
from annals.projections.usage.series import METRICS, Scope, read_usage_at, window_of
from annals.store.log.follower import Follower
from annals.store.log.reader import RecordedEvent
from annals.store.postgres.listener import Listener
from tests.integration.projections.history import META, History, P

HOURS = "UPDATE events SET recorded_at = recorded_at - make_interval(mins => 7 * ((%s - notification_id)::int))"
"""Spreads the events of a log over hours and days, in their order."""


async def days_of_work(history: History) -> None:
    await history.function()
    await history.function("g")
    await history.deploy("d1")
    await history.upload("d2", activate=False, size=70)
    await history.deploy("d3", "g")
    for number in range(30):
        await history.run(f"e{number}")
        await history.update(timeout=number % 5 + 1)
    function, deployment = Function.key(P, "f"), Deployment.key(P, "d2")
    await history.log.run(delete_deployment, function, deployment, meta=META)
    await history.run("late")
    await history.delete_function("g")
    await history.function("g")
    await history.run("later")
    await history.database.execute(HOURS, (await history.log.reader.position(),))


async def follow(history: History) -> None:
    for name in ("usage", "row_versions", "audit"):
        follower = Follower(name, FOLLOWING[name].handle, history.log.reader, Listener(history.database))
        while await follower.catch_up():
            pass


async def recounted(
    history: History, scope: Scope, chosen: Any, position: int
) -> tuple[dict[str, int], dict[str, Any]]:
    """Return totals and series from a fold of the log."""
    recorded_events = await history.log.reader.after(0, 10_000, until=position)
    window = window_of(chosen, recorded_events[-1].recorded_at)
    changes = UsageChanges({}, {})
    for recorded_event in recorded_events:
        changes.apply(recorded_event)
    sums: defaultdict[str, float] = defaultdict(float)
    points: defaultdict[tuple[str, Any], float] = defaultdict(float)
    for cell, counted in changes.cells.items():
        if scope.covers(cell):
            for metric, value in counted.sums.items():
                sums[metric] += value
                points[metric, window.of(cell.minute)] += value
    return (
        {word: int(sums[metric]) for word, metric in METRICS.items()},
        {
            word: [(period, int(points[metric, period])) for period in window.periods]
            for word, metric in METRICS.items()
        },
    )


@pytest.mark.parametrize("chosen", ["24h", "30d"])
async def test_usage_at_any_position_equals_a_recount_of_the_log(history: History, chosen: Any) -> None:
    await days_of_work(history)
    await follow(history)
    recorded_events = await history.log.reader.after(0, 10_000)
    assert (recorded_events[-1].recorded_at - recorded_events[0].recorded_at).total_seconds() > 8 * 3600
    incarnation = history.incarnations["f"]

    for recorded_event in recorded_events[3::5]:
        for scope in (Scope(P), Scope(P, "f", incarnation)):
            found = await read_usage_at(
                history.database,
                history.log.reader,
                scope,
                chosen,
                position=recorded_event.position,
                moment=recorded_event.recorded_at,
            )
            totals, series = await recounted(history, scope, chosen, recorded_event.position)
            assert found.totals == totals
            dated = {word: list(zip(found.periods, values, strict=True)) for word, values in found.series.items()}
            assert dated == series
    assert found.totals["executions"] > 20


def recounted_groups(
    recorded_events: list[RecordedEvent], question: Question
) -> dict[tuple[str, ...], list[dict[str, int]]]:
    """Return by group the values of each period, from a fold of the log."""
    changes = UsageChanges({}, {})
    for recorded_event in recorded_events:
        changes.apply(recorded_event)
    found: dict[tuple[str, ...], list[dict[str, int]]] = {}
    for cell, counted in changes.cells.items():
        period = bisect_right(question.edges, cell.minute)
        if period >= len(question.edges):
            continue
        key = tuple({"function": cell.function_id, "status": cell.status}[d] for d in question.group_by)
        series = found.setdefault(key, [{"count": 0, "duration": 0, "storage": 0} for _ in question.edges[1:]])
        for number, values in enumerate(series, start=1):
            values["storage"] += counted.sums["deployments_storage"] if period <= number else 0
            if period == number:
                values["count"] += counted.sums["executions"]
                values["duration"] += counted.sums["executions_time_ms"]
    return {key: series for key, series in found.items() if any(any(values.values()) for values in series)}


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "Asia/Kathmandu"])
async def test_question_at_any_position_equals_a_recount_of_the_log(history: History, zone: str) -> None:
    await days_of_work(history)
    await follow(history)
    recorded_events = await history.log.reader.after(0, 10_000)
    first, last = recorded_events[0].recorded_at, recorded_events[-1].recorded_at
    for recorded_event in recorded_events[3::7]:
        for interval, group_by in (("day", ["function"]), ("hour", ["status", "function"]), ("total", [])):
            edges = edges_of(first + timedelta(hours=3), last + timedelta(days=1), interval, ZoneInfo(zone))
            question = Question(
                project_id=P, interval=interval, zone=ZoneInfo(zone), edges=edges, group_by=group_by, top=100,
                measures=["count", "duration", "storage"],
            )  # fmt: skip
            found = await answer_at(
                history.database,
                history.log.reader,
                question,
                position=recorded_event.position,
                moment=recorded_event.recorded_at,
            )
            groups = found.groups if group_by else [found.total]
            answered = {tuple(str(word) for word in group.key.values()): list(group.series) for group in groups}
            assert {
                key: series for key, series in answered.items() if any(any(values.values()) for values in series)
            } == recounted_groups([f for f in recorded_events if f.position <= recorded_event.position], question)


async def test_past_usage_needs_a_booked_position(history: History) -> None:
    await days_of_work(history)
    recorded_event = (await history.log.reader.after(0, 10_000))[-1]

    with pytest.raises(NotBooked):
        await read_usage_at(
            history.database,
            history.log.reader,
            Scope(P),
            "24h",
            position=recorded_event.position,
            moment=recorded_event.recorded_at,
        )


async def test_position_of_a_time_is_found_in_archives(history: History) -> None:
    await days_of_work(history)
    await follow(history)
    recorded_events = await history.log.reader.after(0, 10_000)
    segment = (
        "INSERT INTO archive_segments (first_leaf, end_leaf, first_position, last_position, last_recorded_at, blob,"
        " digest, size, root) VALUES (0, 256, 1, %s, %s, 'b', 'd', 1, '')"
    )
    await history.database.execute(segment, (recorded_events[-5].position, recorded_events[-5].recorded_at))
    await history.database.execute(
        "DELETE FROM events WHERE originator_id LIKE 'execution:%%' AND notification_id <= %s",
        (recorded_events[-5].position,),
    )

    for recorded_event in recorded_events:
        assert await history.log.reader.position_at(recorded_event.recorded_at) == recorded_event.position

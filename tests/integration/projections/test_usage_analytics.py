"""The usage cube: the answer to any question, in any zone, equals a recount of the log."""

import random
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
import pytest

from annals.domain.deployment import Deployment
from annals.domain.execution import Execution
from annals.projections.usage import follower as usage
from annals.projections.usage.answer import UsageAnswer, answer
from annals.projections.usage.changes import megabyte_seconds
from annals.projections.usage.executions import EndedExecution, ExecutionsQuery, page
from annals.projections.usage.question import MEASURES, Question, before, edges_of
from annals.projections.usage.sketch import ACCURACY
from annals.store.log.follower import Follower
from annals.store.log.log import EventLog
from annals.store.postgres.listener import Listener
from bench.history import PROJECT, PastEvent, Shape, copy, past_events

END = datetime(2026, 4, 20, 10, 20, tzinfo=UTC)  # clocks changed three weeks before in Berlin
SHAPE = Shape(executions=1500, end=END, days=45, functions=5, seed=7)
FLOWS = ["count", "errors", "duration", "mbSeconds", "coldStarts", "queueTime", "builds", "buildTime"]
RecordedEvent = dict[str, Any]


@pytest.fixture
async def filled_log(log: EventLog, database_url: str) -> EventLog:
    with psycopg.connect(database_url) as conn:
        copy(conn, SHAPE)
    return log


async def follow(log: EventLog, *, batch: int = 500, most: int = 10_000) -> None:
    follower = Follower("usage", usage.follow, log.reader, Listener(log.database), batch=batch)
    for _ in range(most):
        if not await follower.catch_up():
            return


def recounted() -> Iterator[RecordedEvent]:
    """Return everything that counts, without code of the projections except `megabyte_seconds`."""
    owners: dict[str, str] = {}
    triggers: dict[str, tuple[str, str]] = {}
    sources: dict[str, int] = {}
    for moment, event in past_events(SHAPE):
        stream = event.originator_id
        own = stream.split(":")[-1]
        match event:
            case Deployment.UploadStarted():
                owners[stream] = event.function_id
            case Deployment.SourceStored():
                sources[stream] = event.source.size
                yield {"at": moment, "function": owners[stream], "deployment": own, "storage": event.source.size}
            case Deployment.Deleted():
                yield {"at": moment, "function": owners[stream], "deployment": own, "storage": -sources[stream]}
            case Deployment.BuildSucceeded() | Deployment.BuildFailed():
                good = isinstance(event, Deployment.BuildSucceeded)
                yield {
                    "at": moment, "function": owners[stream], "deployment": own,
                    "status": "ready" if good else "failed", "reason": "" if good else "command_failed",
                    "specification": event.specification, "builds": 1, "buildTime": event.seconds * 1000,
                    "buildStorage": event.artefact.size if isinstance(event, Deployment.BuildSucceeded) else 0,
                }  # fmt: skip
            case Execution.Requested():
                triggers[stream] = (event.function_id, event.trigger)
            case Execution.Completed() | Execution.Failed() | Execution.Canceled():
                yield _outcome(moment, event, *triggers[stream])


def _outcome(moment: datetime, event: Any, function: str, trigger: str) -> RecordedEvent:
    good = isinstance(event, Execution.Completed)
    recorded_event = {
        "at": moment, "id": event.originator_id.split(":")[-1], "function": function, "trigger": trigger,
        "status": "completed" if good else "failed", "count": 1, "errors": int(not good),
        "reason": event.reason if isinstance(event, Execution.Failed) else "" if good else "canceled",
    }  # fmt: skip
    if not isinstance(event, Execution.Canceled) and event.ran is not None:
        ran = event.ran
        recorded_event |= {
            "deployment": ran.deployment_id, "specification": ran.specification, "duration": ran.run_ms,
            "mbSeconds": megabyte_seconds(ran.specification, ran.run_ms), "coldStarts": int(ran.cold),
            "queueTime": ran.queue_ms, "took": ran.run_ms,
        }  # fmt: skip
    return recorded_event


COUNTED = list(recounted())


def asked(
    start: datetime, end: datetime, interval: str, *, zone: str = "UTC", compare: bool = False, **other: Any
) -> Question:
    found = ZoneInfo(zone)
    edges = edges_of(start, end, interval, found)
    former = before(edges, interval, found) if compare else []
    recorded_events = {"measures": list(MEASURES), "top": 1000, **other}
    if interval == "minute" or "hour" in recorded_events.get("group_by", ()):
        recorded_events["measures"] = [m for m in recorded_events["measures"] if m not in {"storage", "buildStorage"}]
    return Question(
        project_id=PROJECT,
        interval=interval,
        zone=found,
        edges=[*former, *edges],
        compared=len(former),
        **recorded_events,
    )


def key_of(recorded_event: RecordedEvent, question: Question) -> tuple[Any, ...]:
    hour = recorded_event["at"].astimezone(question.zone).hour
    return tuple(hour if d == "hour" else recorded_event.get(d, "") for d in question.group_by)


def agrees(question: Question, found: UsageAnswer) -> None:
    """Compare every value of every group and period with a recount."""
    recorded_events = [f for f in COUNTED if all(f.get(d, "") in words for d, words in question.filters.items())]
    sums: defaultdict[tuple[Any, int], defaultdict[str, int]] = defaultdict(lambda: defaultdict(int))
    took: defaultdict[tuple[Any, int], list[int]] = defaultdict(list)
    keys = set()
    edges = question.edges
    for recorded_event in recorded_events:
        if recorded_event["at"] >= question.end or (recorded_event["at"] < question.start and not question.opening):
            continue
        key = key_of(recorded_event, question)
        keys.add(key)
        period = bisect_right(edges, recorded_event["at"])
        for measure in FLOWS:
            sums[key, period][measure] += recorded_event.get(measure, 0)
        for measure in {"storage", "buildStorage"} & recorded_event.keys():
            for later in range(period, len(edges)):
                sums[key, later][measure] += recorded_event[measure]
        if "took" in recorded_event:
            took[key, period].append(recorded_event["took"])
    if question.group_by:
        assert {tuple(group.key.values()) for group in found.groups} >= {
            key for key in keys if any(sums[key, p]["count"] + sums[key, p]["builds"] for p in range(1, len(edges)))
        }
    for group in found.groups if question.group_by else [found.total]:
        key = tuple(group.key.values())
        series = [*(group.previous_series or []), *group.series]
        assert len(series) == len(edges) - 1
        for number, values in enumerate(series, start=1):
            for measure, value in values.items():
                if measure.startswith("p"):
                    about(value, took[key, number], int(measure[1:]))
                else:
                    assert value == sums[key, number][measure], (key, number, measure)
        asked_for = range(question.compared + 1, len(edges))
        assert group.total.get("count", 0) == sum(sums[key, number]["count"] for number in asked_for)


def about(value: float | int | None, durations: list[int], share: int) -> None:
    if not durations:
        assert value is None
        return
    exact = sorted(durations)[max(1, -(-share * len(durations) // 100)) - 1]
    assert value is not None
    assert abs(value - exact) <= exact * ACCURACY + 0.06  # answers have one decimal


QUESTIONS = [
    asked(END - timedelta(days=40), END, "day"),
    asked(END - timedelta(days=40), END, "day", zone="Europe/Berlin"),
    asked(END - timedelta(days=40), END, "week", zone="Asia/Kolkata", compare=True),
    asked(datetime(2026, 3, 1, tzinfo=UTC), END, "month", zone="America/New_York", group_by=["function"]),
    asked(END - timedelta(days=20), END, "total", group_by=["function", "deployment"], compare=True),
    asked(END - timedelta(days=20, minutes=7), END, "total", group_by=["status", "reason"]),
    asked(END - timedelta(days=20), END, "total", group_by=["specification"]),
    asked(END - timedelta(days=20), END, "day", group_by=["trigger", "function"], compare=True),
    asked(END - timedelta(days=30), END, "total", group_by=["hour"], zone="Europe/Berlin"),
    asked(END - timedelta(days=30), END, "total", group_by=["hour", "function"], zone="Asia/Kathmandu"),
    asked(END - timedelta(days=2), END, "hour", zone="Australia/Lord_Howe", group_by=["deployment"]),
    asked(datetime(2026, 3, 28, tzinfo=UTC), datetime(2026, 3, 30, tzinfo=UTC), "hour", zone="Europe/Berlin"),
    asked(END - timedelta(days=1), END, "quarter", filters={"trigger": ["http", "event"], "status": ["failed"]}),
    asked(END - timedelta(hours=30), END, "minute", group_by=["function"], filters={"function": ["f0", "f2"]}),
    asked(END - timedelta(days=30), END, "day", filters={"reason": ["timeout", ""], "specification": [""]}),
]


@pytest.mark.parametrize("booked", [4, 6, 10_000], ids=["half of it booked", "most of it booked", "all booked"])
async def test_every_answer_equals_a_recount_of_the_log(filled_log: EventLog, booked: int) -> None:
    await follow(filled_log, batch=400, most=booked)

    for question in QUESTIONS:
        agrees(question, await answer(filled_log.database, filled_log.reader, question))


async def test_random_question_equals_a_recount_of_the_log(filled_log: EventLog) -> None:
    await follow(filled_log)
    chance = random.Random(5)
    for _ in range(25):
        end = END - timedelta(minutes=chance.randrange(0, 10_000))
        length = timedelta(minutes=chance.choice([50, 700, 5000, 30_000]))
        interval = chance.choice(["quarter", "hour", "day", "week", "month", "total"])
        filters = {"function": ["f0", "f1"], "trigger": ["http"], "specification": ["s-1vcpu-512mb"]}
        question = asked(
            end - length,
            end,
            interval if length < timedelta(days=7) or interval != "quarter" else "day",
            zone=chance.choice(["UTC", "Europe/Berlin", "America/St_Johns", "Pacific/Apia"]),
            compare=chance.random() < 0.3,
            group_by=chance.sample(["function", "deployment", "trigger", "status", "reason", "hour"], k=2),
            filters={name: filters[name] for name in chance.sample(sorted(filters), k=chance.randrange(3))},
        )
        agrees(question, await answer(filled_log.database, filled_log.reader, question))


async def test_groups_beyond_the_top_are_summed_as_other(filled_log: EventLog) -> None:
    await follow(filled_log)
    question = asked(END - timedelta(days=20), END, "day", group_by=["function"], top=2)

    found = await answer(filled_log.database, filled_log.reader, question)

    assert len(found.groups) == 2
    assert found.other is not None
    counts = [group.total["count"] for group in (*found.groups, found.other)]
    assert sum(c for c in counts if c is not None) == found.total.total["count"]
    assert found.groups[0].total["count"] >= found.groups[1].total["count"]  # type: ignore[operator]
    assert found.total.total["p95"] == (await only_total(filled_log, "p95"))


async def only_total(log: EventLog, measure: str) -> object:
    question = asked(END - timedelta(days=20), END, "day")
    return (await answer(log.database, log.reader, question)).total.total[measure]


async def test_every_number_lists_its_executions(filled_log: EventLog) -> None:
    await follow(filled_log)
    question = asked(END - timedelta(days=30), END, "total", group_by=["function", "status", "hour"], zone="Asia/Tokyo")
    found = await answer(filled_log.database, filled_log.reader, question)
    assert len(found.groups) > 50

    for group in found.groups[::9]:
        filters = {name: [str(word)] for name, word in group.key.items()}
        wanted = ExecutionsQuery(
            project_id=PROJECT, start=question.start, end=question.end, zone=question.zone, filters=filters
        )
        listed: list[EndedExecution] = []
        cursor: int | None = 0
        while cursor is not None:
            read, cursor = await page(filled_log.reader, wanted, cursor=cursor, limit=7)
            listed += read
        assert len({ended.execution_id for ended in listed}) == len(listed) == group.total["count"]
        assert sum(ended.duration for ended in listed) == group.total["duration"]


async def test_sweep_deletes_minutes_and_keeps_longer_cells(filled_log: EventLog) -> None:
    await follow(filled_log, batch=333)
    oldest = "SELECT min(bucket) FROM usage_cells WHERE grain = %s AND executions > 0"

    assert END - timedelta(days=17) < await filled_log.database.value(oldest, (1,)) < END - timedelta(days=12)
    assert await filled_log.database.value(oldest, (15,)) < END - timedelta(days=44)


async def test_same_seed_gives_the_same_history() -> None:
    def first(shape: Shape) -> list[PastEvent]:
        return [h for h, _ in zip(past_events(shape), range(400), strict=False)]

    def bare(found: list[PastEvent]) -> list[Any]:
        return [(h.recorded_at, h.event.originator_id, type(h.event)) for h in found]

    assert bare(first(SHAPE)) == bare(first(SHAPE))
    assert [h.recorded_at for h in past_events(SHAPE)] == sorted(h.recorded_at for h in past_events(SHAPE))

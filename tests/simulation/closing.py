"""The checks of a calm world: all work has ended and is counted, and the read models equal a rebuild from the log.

Work may stay open after the last fault for as long as the settings allow, and no longer.
"""

import asyncio
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from annals.application.executions.claimed import QUEUE_SECONDS
from annals.domain.deployment import Deployment
from annals.domain.execution import Execution
from annals.domain.function import Function
from annals.projections.inline import project
from annals.projections.schedules import Schedule, ScheduleChanges
from annals.store.log.build_demand import demand_of
from annals.store.log.reader import RecordedEvent
from annals.workers.builds import OVERTIME_SECONDS
from annals.workers.executions import TRANSPORT_SLACK_SECONDS
from annals.workers.job_messages import BUILDS, EXECUTIONS
from tests.simulation.clients import TIMEOUT
from tests.simulation.nodes import BUILD_SECONDS, LEASE_SECONDS
from tests.simulation.postgres import Postgres
from tests.simulation.statements_work import build_demand, full
from tests.simulation.transactions import STATEMENTS, Row, Tx

if TYPE_CHECKING:
    from tests.simulation.world import World

CALM_SECONDS = 100.0
"""Longer than all work may take in sequence; `HELD_SECONDS` and `UNHELD_SECONDS` are the limits of each."""

_TABLES = ("functions", "deployments", "executions", "counters")

_GRACE_SECONDS = 30.0
_MOMENT_SECONDS = 3.0
"""The time to stop work that hangs and to record its end."""

UNHELD_SECONDS = LEASE_SECONDS + _GRACE_SECONDS
"""The limit of work that waits or whose holder is dead: docs/guarantees.md, G2."""

HELD_SECONDS = {
    EXECUTIONS: TIMEOUT + TRANSPORT_SLACK_SECONDS + QUEUE_SECONDS + _MOMENT_SECONDS,
    BUILDS: BUILD_SECONDS + OVERTIME_SECONDS + _MOMENT_SECONDS,
}
"""The limit of work that a living process holds: it may hang in the executor until the process times out."""


class Stay(NamedTuple):
    """An open execution or build under one claim or without a claim. Each claim has its own limit."""

    queue: str
    stream: str
    epoch: int
    status: str
    held: bool

    @property
    def limit(self) -> float:
        return HELD_SECONDS[self.queue] if self.held else UNHELD_SECONDS


class Stays:
    """The time at which each open execution or build was first seen after the last fault."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._since: dict[Stay, float] = {}

    def too_long(self) -> list[str]:
        """Return a sentence for each execution or build that is open for longer than its limit."""
        now = self._world.loop.time()
        self._since = {stay: self._since.get(stay, now) for stay in self._open()}
        return [
            f"stuck: {stay.stream} is {stay.status} (epoch {stay.epoch}) for more than {stay.limit:g} s"
            for stay, since in self._since.items()
            if now - since > stay.limit
        ]

    def _open(self) -> Iterator[Stay]:
        """Yield all open work except work that waits for a free slot."""
        transaction = Tx(self._world.server)
        startable = {tenant.waiting for tenant in demand_of(build_demand(transaction, ())).startable()}
        for queue, stream, row in open_work(self._world):
            waits = row["status"] in {"waiting", "scheduled"}
            at_limit = full(transaction, row) if queue == EXECUTIONS else stream not in startable
            if not waits or not (self._no_dispatcher(queue) or at_limit):
                yield Stay(queue, stream, row["epoch"], row["status"], not waits and self._lives(row["worker"]))

    def _lives(self, holder: str) -> bool:
        return any(node.alive and process_lease.id == holder for node, process_lease in self._world.process_leases)

    def _no_dispatcher(self, queue: str) -> bool:
        dispatchers = self._world.queue.dispatchers
        return bool(dispatchers) and all(dispatcher.full(queue) for dispatcher in dispatchers)


def open_work(world: "World") -> Iterator[tuple[str, str, Row]]:
    """Yield the executions and builds that should end now: their queue, stream and row."""
    now = world.server.now()
    for stream, row in world.server.rows("executions").items():
        status, retry_at = row["status"], row["retry_at"]
        if (
            status == "processing"
            or (status == "waiting" and (retry_at is None or retry_at <= now))
            or (status == "scheduled" and row["scheduled_at"] <= now)
        ):
            yield EXECUTIONS, stream, row
    for stream, row in world.server.rows("deployments").items():
        queued = row["status"] == "waiting" and row["queued_at"] is not None
        if queued or row["status"] in {"processing", "building"}:
            yield BUILDS, stream, row


async def until_calm(world: "World") -> None:
    """Wait until no work waits or runs. Work that remains after the longest time is stuck."""
    deadline, stays = world.loop.time() + CALM_SECONDS, Stays(world)
    while world.loop.time() < deadline:
        await asyncio.sleep(0.5)
        for sentence in stays.too_long():
            world.fail(sentence)
        if not _unended(world) and not _busy(world):
            return
    for sentence in [*_unended(world), *_busy(world)]:
        world.fail(f"stuck: {sentence}")


def _unended(world: "World") -> list[str]:
    now = world.server.now()
    rows = [f"{stream} is {row['status']}" for _, stream, row in open_work(world)]
    rows += [f"{stream} was deleted with its function" for stream, _ in world.server.rows("abandoned_builds")]
    late = now - timedelta(seconds=2)
    rows += [
        f"{stream} is overdue since {row['schedule_next']}"
        for stream, row in world.server.rows("schedules").items()
        if row["schedule_next"] is not None and row["schedule_next"] <= late
    ]
    end = world.server.events[-1]["notification_id"] if world.server.events else 0
    rows += [
        f"{name} stands at {row['position']} of {end}"
        for name, row in world.server.rows("checkpoints").items()
        if row["position"] < end
    ]
    return rows


def _busy(world: "World") -> list[str]:
    dispatchers = ((name, task) for name, task in world.dispatchers.items() if task.done() and world.nodes[name].alive)
    return [f"{name} still works" for name, task in dispatchers if task.result().busy]


def judge(world: "World") -> None:
    """Check all that the log and the read models alone can show."""
    ledger = world.ledger
    for (stream, version), topic in ledger.acknowledged.items():
        rows = world.server.streams.get(stream, [])
        if version > len(rows) or rows[version - 1]["topic"] != topic:
            world.fail(f"acknowledged, but lost: {topic} as version {version} of {stream}")
    _judge_ends(world)
    _judge_functions(world)
    _judge_blobs(world)
    _judge_counters(world)
    _judge_rebuild(world)
    _judge_schedules(world)
    if not world.broken:
        _judge_unbroken(world)


def _judge_ends(world: "World") -> None:
    rows, started = world.server.rows("executions"), {own_id for own_id, _ in world.executor.started}
    for stream, known in world.ledger.streams.items():
        if known.deleted:
            continue
        if isinstance(known.created, Deployment.UploadStarted) and known.queued and known.ends != 1:
            world.fail(f"{stream} was queued and has ended {known.ends} times")
        if isinstance(known.created, Execution.Requested):
            row = rows.get(stream)
            to_come = row is not None and (row["status"] == "scheduled" or row["retry_at"] is not None)
            if known.ends != 1 and not to_come:
                world.fail(f"{stream} has ended {known.ends} times")
            if row is not None and row["status"] == "completed" and known.created.execution_id not in started:
                world.fail(f"{stream} completed, and never ran")


def _judge_functions(world: "World") -> None:
    for stream, row in world.server.rows("functions").items():
        if row["deployment_id"]:
            deployment = world.ledger.streams.get(Deployment.stream(row["project_id"], row["deployment_id"]))
            if deployment is None or deployment.deleted or not deployment.ready:
                world.fail(f"{stream} has the active deployment {row['deployment_id']}, which is missing")


def _judge_blobs(world: "World") -> None:
    """Check that the blobs of all existing deployments exist."""
    for stream, row in world.server.rows("deployments").items():
        for key in (row["source_key"], row["artefact_key"]):
            if key and key not in world.blobs.stored:
                world.fail(f"{stream} names {key}, which is missing")


def _judge_counters(world: "World") -> None:
    counted: Counter[tuple[str, str, str]] = Counter()
    functions = world.server.rows("functions")
    for row in functions.values():
        counted[row["project_id"], "", "functions"] += 1
    for name in ("deployments", "executions"):
        for row in world.server.rows(name).values():
            function = functions.get(Function.stream(row["project_id"], row["function_id"]))
            if function is not None and function["sequence"] == row["function_sequence"]:
                counted[row["project_id"], row["function_id"], name] += 1
    for key, row in world.server.rows("counters").items():
        if row["value"] != counted[key]:
            world.fail(f"{key} has the counter {row['value']}, but {counted[key]} rows exist")


def _judge_rebuild(world: "World") -> None:
    """Check that the read models equal their rebuild from the log."""
    again = Postgres(world.loop, world.rng, world.server.now, lambda _: None)
    tx: Any = Rebuilding(again)
    for row, event in world.ledger.events:
        tx.current = row
        for statement in project(event):
            STATEMENTS[statement.sql](tx, statement.params)
    for table in _TABLES:
        rebuilt, live = dict(tx.rows(table)), dict(world.server.rows(table))
        for key in rebuilt.keys() | live.keys():
            if rebuilt.get(key) != live.get(key):
                world.fail(f"{table} {key} is {live.get(key)} and would be rebuilt as {rebuilt.get(key)}")


def _judge_schedules(world: "World") -> None:
    """Check that the schedules of the follower, made batch by batch and across crashes, equal one fold of the log."""
    changes = ScheduleChanges({})
    for row, event in world.ledger.events:
        fired = isinstance(event, Execution.Requested) and event.slot is not None
        if fired or isinstance(event, Function.Event):
            changes.apply(RecordedEvent(row["notification_id"], row["recorded_at"], row["project"], event))
    live = {stream: Schedule(**row) for stream, row in world.server.rows("schedules").items()}
    for stream in live.keys() | changes.known.keys():
        if live.get(stream) != changes.known.get(stream):
            world.fail(f"the schedules table has {live.get(stream)}, but the log has {changes.known.get(stream)}")


def _judge_unbroken(world: "World") -> None:
    """Check that without faults no work is lost and no recovery step runs."""
    for _, event in world.ledger.events:
        if getattr(event, "reason", "") in {"worker_lost", "executor_lost"}:
            world.fail(f"{event.originator_id} was recorded as lost although nothing had failed")
    if world.resent and not world.bounded:
        world.fail(f"{world.resent} job messages were sent again although none was lost")


class Rebuilding(Tx):
    """A transaction that holds only the event that is projected."""

    current: Row

    def event(self, stream: str, version: int) -> Row | None:
        return self.current

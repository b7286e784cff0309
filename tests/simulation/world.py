"""One seeded instance: its loop, its services, and the processes that start and end in it.

Its clocks and random numbers are drawn from its seed.
"""

import asyncio
import contextlib
import random
import secrets
import sys
import time
import uuid
from collections.abc import Callable, Coroutine, Iterator, MutableMapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any
from unittest import mock

import eventsourcing.domain
import structlog

from annals.application.executions import record_outcome
from annals.store.coordination.leases import ProcessLease
from annals.workers import cleanup
from tests.simulation import nodes, statements_executions, statements_log, statements_models, statements_work  # noqa: F401 - they register what they know
from tests.simulation.blobs import SimulatedBlobs
from tests.simulation.executor import SimulatedExecutor
from tests.simulation.job_messages import SimulatedDispatcher, SimulatedQueue
from tests.simulation.ledger import Ledger
from tests.simulation.loop import NODE, Deadlock, Livelock, Node, SimulatedLoop
from tests.simulation.postgres import Postgres
from tests.simulation.transactions import Row

PROJECT = "p"
_current: list["World"] = []

BEGINNING = datetime(2026, 3, 28, 23, 57, tzinfo=UTC)
"""The time at which scenarios begin: a few minutes before midnight, in the night in which European clocks change to
summer time.
"""


class Clocks:
    """The wall clocks of the database and of each node. A jump is an offset from then on."""

    def __init__(self, loop: SimulatedLoop) -> None:
        self._loop = loop
        self.offsets: dict[str, float] = {}
        self.beginning = BEGINNING

    def at(self, host: str) -> datetime:
        return self.beginning + timedelta(seconds=self._loop.time() + self.offsets.get(host, 0.0))

    def here(self) -> datetime:
        """Return the time on the clock of the node that asks."""
        node = NODE.get()
        return self.at("" if node is None else node.name)


@contextlib.contextmanager
def installed(clocks: Clocks, rng: random.Random) -> Iterator[None]:
    """Replace the machine's clocks and random numbers with those of the scenario."""

    class SimulatedDatetime(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Any:
            return clocks.here().astimezone(tz)

    random.seed(rng.random())
    with contextlib.ExitStack() as stack:
        for module in (eventsourcing.domain, record_outcome, cleanup):
            stack.enter_context(mock.patch.object(module, "datetime", SimulatedDatetime))
        stack.enter_context(_machine(clocks, rng))
        yield


@contextlib.contextmanager
def _machine(clocks: Clocks, rng: random.Random) -> Iterator[None]:
    def seconds() -> float:
        return clocks.here().timestamp()

    def nanoseconds() -> int:
        return int(seconds() * 1e9)

    def token_hex(size: int = 16) -> str:
        return f"{rng.getrandbits(size * 8):0{size * 2}x}"

    def uuid4() -> uuid.UUID:
        return uuid.UUID(int=rng.getrandbits(128))

    with (
        mock.patch.multiple(time, time=seconds, time_ns=nanoseconds),
        mock.patch.multiple(secrets, token_hex=token_hex, randbits=rng.getrandbits),
        mock.patch.object(uuid, "uuid4", uuid4),
    ):
        yield


class World:
    """A world whose `drive` runs a scenario until its end or the first violation."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.rng = random.Random(seed)
        self.loop = SimulatedLoop(self._part(), chaos=self.rng.choice([0.0, 0.1, 0.5]))
        self.clocks = Clocks(self.loop)
        self.clocks.offsets["database"] = 0.0
        self.violations: list[str] = []
        self.loop.broke = self.fail
        self.ledger = Ledger(self.fail, self.loop.time)
        self.server = Postgres(self.loop, self._part(), lambda: self.clocks.at("database"), self._committed)
        self.queue = SimulatedQueue(self.loop, self._part())
        self.blobs: Any = SimulatedBlobs(self._part(), self._die)
        self.executor = SimulatedExecutor(self.loop, self._part(), self.fail, self.blobs)
        self.uploaded: Any = nodes.Uploaded()
        self.nodes: dict[str, Node] = {}
        self.apis: dict[str, asyncio.Task[nodes.Parts]] = {}
        self.dispatchers: dict[str, asyncio.Task[SimulatedDispatcher]] = {}
        self.process_leases: list[tuple[Node, ProcessLease]] = []
        self.trace: list[str] = []
        self._started = 0
        self.broken = False
        """True if any part of the instance failed or any clock jumped."""
        self.resent = 0
        self.bounded = False
        """True if some function has a concurrency limit: messages of its waiting executions may be sent again."""
        project = {"stream_id": f"project:{PROJECT}", "project_id": PROJECT, "variables_version": 1}
        self.server.tables["projects"] = {f"project:{PROJECT}": project}

    def _part(self) -> random.Random:
        return random.Random(self.rng.getrandbits(64))

    def fail(self, sentence: str) -> None:
        if not self.violations:
            self.loop.stop_now()
        self.violations.append(sentence)

    def say(self, label: str) -> None:
        """Add a line to the scenario's log."""
        self.trace.append(f"{self.loop.time():8.3f} {label}")

    def _committed(self, rows: list[Row]) -> None:
        self.ledger.committed(rows)
        for sentence in self.blobs.lacking(event for _, event in self.ledger.events[-len(rows) :]):
            self.fail(sentence)

    async def _die(self) -> None:
        """End the process that this code runs in."""
        self.kill(self.current_node().name.partition("#")[0])
        await self.loop.create_future()

    def current_node(self) -> Node:
        node = NODE.get()
        assert node is not None
        return node

    def start(self, name: str) -> None:
        """Start `api1`, `worker2` or `keeper1` as a new process under that name."""
        self._started += 1
        self.say(f"start {name}")
        node = self.nodes[name] = Node(self.loop, f"{name}#{self._started}")
        node.ended.append(lambda: self.server.end_of_node(node))
        role = name.rstrip("0123456789")
        if role == "api":
            self.apis[name] = node.spawn(nodes.api(self))
        elif role == "worker":
            self.dispatchers[name] = node.spawn(nodes.worker(self))
        else:
            node.spawn(nodes.keeper(self))

    def kill(self, name: str) -> None:
        if self.nodes[name].alive:
            self.say(f"kill {name}")
            self.broken = True
            self.nodes[name].kill()

    def freeze(self, name: str) -> None:
        node = self.nodes[name]
        if node.alive and not node.frozen:
            self.say(f"freeze {name}")
            self.broken = True
            node.freeze()
            self.loop.call_later(3.0, lambda: self.server.end_idle(node) if node.frozen else None)

    def thaw(self, name: str) -> None:
        node = self.nodes[name]
        if node.alive and node.frozen:
            self.say(f"thaw {name}")
            node.thaw()

    def drive(self, scenario: Callable[["World"], Coroutine[Any, Any, None]]) -> list[str]:
        """Run a scenario to its end or its first violation. Return the violations."""
        with installed(self.clocks, self._part()), _watched(self):
            task = self.loop.create_task(scenario(self))
            try:
                with suppress(RuntimeError):  # a violation stops the loop before the scenario ends
                    self.loop.run_until_complete(task)
            except (Deadlock, Livelock) as stuck:
                self.fail(str(stuck))
            if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                self.fail(f"the scenario failed: {error!r}")
        return self.violations


@contextmanager
def _watched(world: World) -> Iterator[None]:
    _current.append(world)
    try:
        yield
    finally:
        _current.pop()


def _capture(_logger: object, name: str, event: MutableMapping[str, Any]) -> str:
    """Report an error that the program logs as a violation: the program did not expect it."""
    if _current:
        cause = sys.exc_info()[1] if event.pop("exc_info", "") else ""
        _current[-1].fail(f"logged as an error: {event} {cause!r}")
    raise structlog.DropEvent


def silence() -> None:
    """Log errors only, and count each as a violation."""
    structlog.configure(
        processors=[_capture],
        wrapper_class=structlog.make_filtering_bound_logger(40),
        cache_logger_on_first_use=False,
    )

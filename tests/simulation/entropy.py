"""The clocks and random numbers of a scenario, both drawn from its seed."""

import contextlib
import random
import secrets
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any
from unittest import mock

import eventsourcing.domain

from annals.application.executions import record_outcome
from annals.workers import cleanup
from tests.simulation.loop import NODE, SimulatedLoop

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

"""The server's side of connections: the open transaction, waits and results of each session."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

from tests.simulation.loop import Node
from tests.simulation.transactions import Row, Tx


class Lock:
    def __init__(self) -> None:
        self.owner: Session | None = None
        self.waiting: deque[Pipeline] = deque()


class Session:
    """The server's side of a connection."""

    def __init__(self, node: Node | None) -> None:
        self.node = node
        self.tx: Tx | None = None
        self.alive = True
        self.channel = ""
        self.listening: Callable[[str], None] | None = None
        self.leads = False
        self.run_pipeline: Pipeline | None = None

    def listen(self, channel: str, deliver: Callable[[str], None]) -> None:
        self.channel, self.listening = channel, deliver


class Pipeline:
    """Statements that are sent together, each with its parameters (a list for `executemany`) and its result list.

    Statements sent `alone` are one transaction, unless the first of them begins one.
    """

    def __init__(
        self, session: Session, operations: list[tuple[str, Any, bool, list[list[Row]]]], *, alone: bool = False
    ) -> None:
        self.session, self.operations = session, operations
        self.alone = alone and bool(operations) and not operations[0][0].startswith("BEGIN")
        self.at = 0
        self.error: Exception | None = None
        self.answer: asyncio.Future[None] | None = None
        self.timeout: asyncio.TimerHandle | None = None
        self.over = False


class Faults:
    """How likely a connection breaks before a pipeline runs (`before`), or after it ran and committed (`after`)."""

    def __init__(self) -> None:
        self.before = self.after = 0.0

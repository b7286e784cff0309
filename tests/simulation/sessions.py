"""The server's side of connections: what each has open, waits for and is answered."""

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

    def listen(self, channel: str, told: Callable[[str], None]) -> None:
        self.channel, self.listening = channel, told


class Pipeline:
    """Statements sent together: each with its parameters (a list of them for many) and where results go.

    Those sent `alone` are a transaction of their own, unless the first of them begins one.
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
    """How likely a trip meets a broken connection: on its way there, or, all done and committed, on its way back."""

    def __init__(self) -> None:
        self.before = self.after = 0.0

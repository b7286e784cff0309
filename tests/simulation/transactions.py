"""Transactions and sessions of the simulated Postgres, and the registry of statement effects by text."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any, Protocol

from psycopg import errors as pg

from annals.store.log.append_modes import DATA_KEYS, PROJECTS, STREAM_KEY
from tests.simulation.loop import Node

Row = dict[str, Any]
Key = Any
Statement = Callable[["Tx", Any], list[Row]]

STATEMENTS: dict[str, Statement] = {}
"""The effect of each statement by its text."""


def on(text: str) -> Callable[[Statement], Statement]:
    """Register the effect of a statement."""

    def register(statement: Statement) -> Statement:
        STATEMENTS[text] = statement
        return statement

    return register


class Committed(Protocol):
    """The committed data that a transaction reads."""

    tables: dict[str, dict[Key, Row]]
    events: list[Row]
    streams: dict[str, list[Row]]

    def now(self) -> datetime: ...

    def next_position(self) -> int: ...


class _Diagnostic:
    constraint_name = STREAM_KEY
    message_primary = "duplicate key"


class StreamTaken(pg.UniqueViolation):
    diag = _Diagnostic()  # type: ignore[assignment]


class _FunctionGone:
    constraint_name = "executions_function"
    message_primary = "the function is gone"


class FunctionGone(pg.ForeignKeyViolation):
    diag = _FunctionGone()  # type: ignore[assignment]


class _DeploymentGone:
    constraint_name = "deployments_id"
    message_primary = "the deployment is gone"


class DeploymentGone(pg.ForeignKeyViolation):
    diag = _DeploymentGone()  # type: ignore[assignment]


class _DataKeyGone:
    constraint_name = DATA_KEYS
    message_primary = "a value was sealed with a deleted key"


class DataKeyGone(pg.ForeignKeyViolation):
    diag = _DataKeyGone()  # type: ignore[assignment]


class _ProjectGone:
    constraint_name = PROJECTS
    message_primary = "the project is gone, or was created again"


class ProjectGone(pg.ForeignKeyViolation):
    diag = _ProjectGone()  # type: ignore[assignment]


class _ProjectNotEmpty:
    constraint_name = "projects_empty"
    message_primary = "the project is not empty"


class ProjectNotEmpty(pg.ForeignKeyViolation):
    diag = _ProjectNotEmpty()  # type: ignore[assignment]


class UnknownStatement(Exception):
    """The simulation does not know a statement's text."""


class Tx:
    """A transaction: its own writes hide the committed rows."""

    def __init__(self, server: Committed) -> None:
        self._server = server
        self.overlay: dict[str, dict[Key, Row | None]] = {}
        self.events: list[Row] = []
        self.freed_slots: list[str] = []
        self.aborted = False
        self.savepoint: tuple[dict[str, dict[Key, Row | None]], int, int] | None = None

    @property
    def now(self) -> datetime:
        return self._server.now()

    def get(self, table: str, key: Key) -> Row | None:
        own = self.overlay.get(table)
        if own is not None and key in own:
            return own[key]
        return self._server.tables.get(table, {}).get(key)

    def put(self, table: str, key: Key, row: Row) -> Row:
        self.overlay.setdefault(table, {})[key] = row
        return row

    def drop(self, table: str, key: Key) -> None:
        self.overlay.setdefault(table, {})[key] = None

    def rows(self, table: str) -> Iterator[tuple[Key, Row]]:
        own = self.overlay.get(table, {})
        for key, row in list(self._server.tables.get(table, {}).items()):
            if key not in own:
                yield key, row
        for key, mine in list(own.items()):
            if mine is not None:
                yield key, mine

    def event(self, stream: str, version: int) -> Row | None:
        for row in self.events:
            if row["originator_id"] == stream and row["originator_version"] == version:
                return row
        committed = self._server.streams.get(stream, ())
        return committed[version - 1] if version <= len(committed) else None

    def stream(self, stream: str) -> list[Row]:
        return [*self._server.streams.get(stream, ()), *(e for e in self.events if e["originator_id"] == stream)]

    def log(self) -> Sequence[Row]:
        return self._server.events

    def append(self, stream: str, version: int, topic: str, state: bytes) -> Row:
        if self.event(stream, version) is not None:
            raise StreamTaken
        newest = self.events[-1:] or self._server.events[-1:]
        now = self.now.replace(microsecond=self.now.microsecond // 1000 * 1000)
        row = {
            "notification_id": self._server.next_position(),
            "originator_id": stream,
            "originator_version": version,
            "topic": topic,
            "state": bytes(state),
            "project": stream.split(":")[1],
            "recorded_at": max([now, *(e["recorded_at"] for e in newest)]),
        }
        self.events.append(row)
        return row

    def save(self) -> None:
        self.savepoint = (
            {name: dict(rows) for name, rows in self.overlay.items()},
            len(self.events),
            len(self.freed_slots),
        )

    def restore(self) -> None:
        if self.savepoint is not None:
            overlay, events, freed_slots = self.savepoint
            self.overlay = {name: dict(rows) for name, rows in overlay.items()}
            del self.events[events:], self.freed_slots[freed_slots:]
            self.aborted = False


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

"""Read models that users write: a class in a file, folded over the log on request.

from annals.projections.own_models import RecordedEvent, ReadModel

class Failures(ReadModel):
    columns = {"function": "text", "failures": "bigint"}
    topics = ("execution.failed",)

    def __init__(self) -> None:
        self.failures: dict[str, int] = {}

    def apply(self, recorded_event: RecordedEvent) -> None:
        function = recorded_event.event.ran.deployment_id if recorded_event.event.ran else "none"
        self.failures[function] = self.failures.get(function, 0) + 1

    def rows(self):
        return sorted(self.failures.items())
"""

import asyncio
import importlib.util
import inspect
import re
import resource
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from psycopg.sql import SQL, Identifier, Literal

from annals.store.log.reader import EventReader, RecordedEvent
from annals.store.postgres.database import Database

__all__ = ["FoldBounds", "FoldResult", "ModelInvalid", "ReadModel", "RecordedEvent", "Stopped", "fold", "keep", "load"]

SCHEMA = "models"
BATCH = 5000
_NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}", re.ASCII)
_TYPE = re.compile(r"[a-z][a-z0-9 ]{0,40}(\[\])?", re.ASCII)


class ReadModel(ABC):
    """A fold over the log, to be subclassed in a user's file.

    `columns` are the names and Postgres types of the rows' values, in order. `topics` select the events, none: all.
    """

    columns: ClassVar[Mapping[str, str]]
    topics: ClassVar[Sequence[str]] = ()

    @abstractmethod
    def apply(self, recorded_event: RecordedEvent) -> None:
        """Apply one event: it has `position`, `recorded_at`, `project`, and `event` with its fields."""

    @abstractmethod
    def rows(self) -> Iterable[Sequence[Any]]:
        """Return the result, a value for each column."""


class ModelInvalid(Exception):
    """A file without a usable model, or a model that raised an exception."""


class Stopped(Exception):
    """A fold that reached a bound before the end of the log. Its rows are discarded."""


class FoldBounds(NamedTuple):
    """The positions of a fold, its seconds, and the megabytes that this process may use."""

    after: int
    until: int
    project: str | None = None
    seconds: float = 600.0
    megabytes: int = 2048


class FoldResult(NamedTuple):
    """A finished fold: its rows, their position, the number of events, and the seconds it took."""

    rows: list[Sequence[Any]]
    position: int
    events: int
    seconds: float


Report = Callable[[int, int], None]
"""Receives the position and the number of events so far."""


def load(path: Path, name: str = "") -> ReadModel:
    """Run a user's file, and return its model: the only one, or the one of that name. Raises ModelInvalid."""
    if not path.is_file():
        raise ModelInvalid(f"There is no file {path}.")
    spec = importlib.util.spec_from_file_location("annals_own_model", path)
    if spec is None or spec.loader is None:
        raise ModelInvalid(f"{path} is not a Python file. Its name must end in .py.")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ModelInvalid(f"{path} does not load: {type(error).__name__}: {error}") from error
    found = {
        key: value
        for key, value in vars(module).items()
        if inspect.isclass(value) and issubclass(value, ReadModel) and value.__module__ == module.__name__
    }
    if name and name not in found:
        raise ModelInvalid(f"{path} defines no read model {name}; it defines {', '.join(found) or 'none'}.")
    if not name and len(found) != 1:
        raise ModelInvalid(
            f"{path} defines {len(found)} read models; name one as {path.name}:NAME."
            if found
            else f"{path} defines no class of annals.projections.own_models.ReadModel."
        )
    return _instance(found[name or next(iter(found))], path)


def _instance(kind: type[ReadModel], path: Path) -> ReadModel:
    columns = getattr(kind, "columns", None)
    if not isinstance(columns, Mapping) or not columns:
        raise ModelInvalid(f"{kind.__name__} in {path} needs `columns`: the names and Postgres types of its rows.")
    wrong = [name for name, kind_of in columns.items() if not (_NAME.fullmatch(name) and _TYPE.fullmatch(kind_of))]
    if wrong:
        raise ModelInvalid(f"{kind.__name__} in {path} has a column {wrong[0]!r} that Postgres rejects.")
    try:
        return kind()
    except Exception as error:
        raise ModelInvalid(f"{kind.__name__} in {path} cannot be created: {type(error).__name__}: {error}") from error


async def fold(
    reader: EventReader, model: ReadModel, bounds: FoldBounds, report: Report = lambda _position, _events: None
) -> FoldResult:
    """Apply the events within bounds to a model; the next batch is read meanwhile.

    Raises ModelInvalid with the position if the model fails, Stopped at a bound, and CancelledError.
    """
    began = time.monotonic()
    position, events = bounds.after, 0
    reading = asyncio.ensure_future(_read(reader, model, position, bounds))
    try:
        while batch := await reading:
            reading = asyncio.ensure_future(_read(reader, model, batch[-1].position, bounds))
            await asyncio.sleep(0)  # lets the next read begin
            _apply(model, batch)
            position, events = batch[-1].position, events + len(batch)
            report(position, events)
            _check_bounds(bounds, position, events, time.monotonic() - began)
    finally:
        reading.cancel()
    try:
        rows: list[Sequence[Any]] = [tuple(row) for row in model.rows()]
    except Exception as error:
        raise ModelInvalid(f"The model's rows failed: {type(error).__name__}: {error}") from error
    if any(len(row) != len(model.columns) for row in rows):
        raise ModelInvalid(f"The model's rows do not have a value for each of {', '.join(model.columns)}.")
    return FoldResult(rows, bounds.until, events, time.monotonic() - began)


async def _read(reader: EventReader, model: ReadModel, position: int, bounds: FoldBounds) -> list[RecordedEvent]:
    return await reader.after(position, BATCH, project=bounds.project, until=bounds.until, topics=model.topics)


def _apply(model: ReadModel, batch: Sequence[RecordedEvent]) -> None:
    topics = frozenset(model.topics)
    for recorded_event in batch:
        if topics and type(recorded_event.event).TOPIC not in topics:
            continue  # archives are read whole
        try:
            model.apply(recorded_event)
        except Exception as error:
            raise ModelInvalid(
                f"The model failed at position {recorded_event.position} ({type(recorded_event.event).TOPIC}): "
                f"{type(error).__name__}: {error}"
            ) from error


def _check_bounds(bounds: FoldBounds, position: int, events: int, seconds: float) -> None:
    reached = f"at position {position} of {bounds.until}, after {events:,} events; no rows were kept"
    if seconds > bounds.seconds:
        raise Stopped(f"Stopped after {bounds.seconds:g} seconds, {reached}. Allow more with --seconds.")
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if used > bounds.megabytes:
        raise Stopped(f"Stopped at {used:.0f} MB of memory, {reached}. Allow more with --memory.")


async def keep(database: Database, table: str, model: ReadModel, folded: FoldResult) -> None:
    """Replace the rows of a table in the schema `models`, in one transaction.

    Raises ModelInvalid for a name or values that Postgres rejects.
    """
    if not _NAME.fullmatch(table):
        raise ModelInvalid(f"{table!r} is not a table name. Use lower-case letters, digits and underscores.")
    target = Identifier(SCHEMA, table)
    columns = SQL(", ").join(
        SQL("{} {}").format(Identifier(name), _type(kind)) for name, kind in model.columns.items()
    )  # fmt: skip
    note = f"{type(model).__name__} at position {folded.position}, {folded.events} events"
    conn = await database.connect("model")
    try:
        async with conn.transaction():
            await conn.execute(SQL("CREATE SCHEMA IF NOT EXISTS {}").format(Identifier(SCHEMA)))
            await conn.execute(SQL("DROP TABLE IF EXISTS {}").format(target))
            await conn.execute(SQL("CREATE TABLE {} ({})").format(target, columns))
            await conn.execute(SQL("COMMENT ON TABLE {} IS {}").format(target, Literal(note)))
            async with conn.cursor() as cursor, cursor.copy(SQL("COPY {} FROM STDIN").format(target)) as copy:
                for row in folded.rows:
                    await copy.write_row(row)
    finally:
        await conn.close()


def _type(kind: str) -> SQL:
    return SQL(kind)

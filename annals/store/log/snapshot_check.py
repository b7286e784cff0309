"""Checking that each snapshot is the state that its stream's events fold to.

Commands decide by snapshots, and the seal covers only events.
"""

from collections.abc import AsyncIterator
from typing import Any, NamedTuple

from annals.domain.base import Aggregate
from annals.store.errors import StoreError
from annals.store.log import snapshots
from annals.store.log.mapper import EventMapper
from annals.store.log.reader import project_events
from annals.store.postgres import sql
from annals.store.postgres.database import Database

QUERIES = sql.load(__package__, "snapshot_check.sql")

_PAGE = 100


class Altered(NamedTuple):
    """A snapshot that differs from its stream's events; `position` is that of the last event folded for it."""

    stream: str
    version: int
    position: int
    detail: str


class SnapshotCheck:
    """One check of an instance that may run meanwhile; `read` counts the snapshots that this program would use.

    Snapshots of other code are skipped: this program neither reads them nor can make them again.
    """

    def __init__(self, database: Database, mapper: EventMapper) -> None:
        self._database, self._mapper = database, mapper
        self.read = 0

    async def run(self) -> list[Altered]:
        """Return the snapshots that differ from the log. Raises StoreUnavailable."""
        return [altered async for altered in self._altered()]

    async def mend(self) -> list[Altered]:
        """Run, and remove the found snapshots: their streams are folded from events until the next snapshot."""
        found = await self.run()
        for altered in found:
            await self._database.execute(QUERIES["drop"], {"stream": altered.stream, "version": altered.version})
        return found

    async def _altered(self) -> AsyncIterator[Altered]:
        key: dict[str, Any] = {"stream": "", "version": 0}
        fold = _Fold(self._database, self._mapper, "")
        while page := await self._database.rows(QUERIES["snapshots"], {**key, "limit": _PAGE}):
            for row in page:
                if row["stream"] != fold.stream:
                    fold = _Fold(self._database, self._mapper, row["stream"])
                if detail := await self._wrong(row, fold):
                    yield Altered(row["stream"], row["version"], fold.position, detail)
            key = {name: page[-1][name] for name in key}

    async def _wrong(self, row: dict[str, Any], fold: "_Fold") -> str:
        """Return what is wrong with a snapshot, empty for a right one."""
        try:
            await fold.to(row["version"])
        except (StoreError, TypeError, ValueError, KeyError, AttributeError) as error:
            return f"cannot be compared, for the stream's events cannot be folded: {error}"
        folded = fold.aggregate
        if folded is None or fold.version != row["version"]:
            return "is of a version that the stream does not have"
        if row["shape"] != snapshots.shape(type(folded)):
            return ""
        self.read += 1
        return "" if _same(row["state"], row["version"], folded) else "is not what the stream's events fold to"


class _Fold:
    """Folds a stream to one version after the other."""

    def __init__(self, database: Database, mapper: EventMapper, stream: str) -> None:
        self._database, self._mapper, self.stream = database, mapper, stream
        self.aggregate: Aggregate | None = None
        self.version = self.position = 0

    async def to(self, version: int) -> None:
        params = {"stream": self.stream, "until": version, "limit": _PAGE}
        while rows := await self._database.rows(QUERIES["events"], {**params, "after": self.version}):
            for row in rows:
                event = self._mapper.decode(self.stream, row["version"], row["topic"], row["state"])
                self.aggregate = project_events(self.aggregate, (event,))
                self.version, self.position = row["version"], row["position"]


def _same(state: bytes, version: int, folded: Aggregate) -> bool:
    """Return whether a state is that of an aggregate, types included."""
    try:
        restored = snapshots.restore(type(folded), folded.id, version, state)
        return snapshots.take(restored) == snapshots.take(folded)
    except Exception:  # altered bytes may fail in any way
        return False

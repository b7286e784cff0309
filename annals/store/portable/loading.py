"""Loading a verified export into an empty log: positions, times and bytes stay the same, and so does the root."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

from annals.store.content.contents import Content, Contents
from annals.store.coordination.pauses import SCHEDULES
from annals.store.errors import MasterKeyWrong, StoreError, UnreadableEvent
from annals.store.log.append_modes import LOCK
from annals.store.log.mapper import EventMapper
from annals.store.log.stored_row import StoredRow, moment
from annals.store.portable.reading import ExportInvalid, Summary, records
from annals.store.portable.records import BlobRecord, ContentRecord, Piece
from annals.store.postgres import sql
from annals.store.postgres.database import Connection, Database
from annals.store.proof.notes import Checkpoint, text_of
from annals.store.secrets.master_keys import MasterKeys

QUERIES = sql.load(__package__, "portable.sql")
_TYPES = ["int8", "text", "int8", "text", "bytea", "timestamptz"]


class LogNotEmpty(StoreError):
    """The log is not empty: loading would rewrite history."""

    default = (
        "This instance's log is not empty: it holds more than the first start made. "
        "Start a new instance on another data folder and load into that."
    )


OTHER_MASTER = (
    "What the backup keeps secret was sealed under another master key, and nothing was written. Put the master.key of "
    "the instance that was backed up on a line of its own in {path}, below what is there, and restore again."
)


class Loader:
    """Loads one export. `master` has this instance's master keys, which must open a backup's data keys."""

    def __init__(self, database: Database, contents: Contents, master: MasterKeys, mapper: EventMapper) -> None:
        self._database, self._contents, self._master, self._mapper = database, contents, master, mapper
        self._blobs = contents.blobs
        self._written: list[str] = []

    async def check(self, path: Path, summary: Summary) -> None:
        """Check that a verified file can be loaded, before anything is written.

        Raises ExportInvalid, LogNotEmpty, MasterKeyWrong, UnknownTopic, UnreadableEvent.
        """
        if summary.header.since:
            raise ExportInvalid("It goes on from an earlier export. Only one from the beginning can be loaded.")
        if await self._database.value(QUERIES["newest_event"]) is not None:
            raise LogNotEmpty
        try:
            for key in summary.data_keys:
                self._master.unwrap(key.project, key.key_id, key.wrapped)
        except MasterKeyWrong:
            raise MasterKeyWrong(OTHER_MASTER.format(path=self._master.path)) from None
        await asyncio.to_thread(self._decode_all, path)

    async def load(self, path: Path, summary: Summary, *, hold: str, forget: Callable[[], Awaitable[None]]) -> None:
        """Write events, contents and keys in one transaction, and the blobs; a failed load leaves nothing.

        `hold`, if not empty, is the reason to pause schedules. `forget` removes the outside checkpoints of the log that
        the first start began. Raises as `check`, BlobError, psycopg's errors.
        """
        try:
            async with self._database.transaction() as conn:
                await conn.execute("SET LOCAL statement_timeout = 0")
                await conn.execute("SELECT pg_advisory_xact_lock(%s)", (LOCK,))
                if await (await conn.execute(QUERIES["newest_event"], {})).fetchone() is not None:
                    raise LogNotEmpty
                await conn.execute(QUERIES["empty"])
                await self._copy_events(conn, records(path))
                await self._contents_and_blobs(conn, records(path))
                await self._write_keys_and_checkpoints(conn, summary)
                if hold:
                    await conn.execute(QUERIES["hold"], {"name": SCHEDULES, "reason": hold})
                await forget()
        except BaseException:
            await self._blobs.delete(*self._written)
            raise

    def _decode_all(self, path: Path) -> None:
        for record in records(path):
            if isinstance(record, StoredRow):
                if not record.state.startswith(b"{"):  # it would be read as a compressed state
                    raise UnreadableEvent(f"The state of position {record.position} is not JSON")
                self._mapper.decode(record.stream, record.version, record.topic, record.state)

    async def _contents_and_blobs(self, conn: Connection, found: Iterator[Any]) -> None:
        record = next(found, None)
        while record is not None:
            if isinstance(record, BlobRecord):
                pieces = _Pieces(found)
                self._written.append(record.key)
                await self._blobs.put(record.key, pieces.all())
                record = pieces.following
                continue
            if isinstance(record, ContentRecord):
                await conn.execute(QUERIES["add_content"], await self._content_row(record))
            record = next(found, None)

    async def _content_row(self, record: ContentRecord) -> dict[str, Any]:
        (prepared,) = await self._contents.prepare([Content(record.stream, record.name, record.data)])
        if prepared.blob is not None:
            self._written.append(prepared.blob)
        return prepared.row({record.stream: record.version})._asdict()

    async def _copy_events(self, conn: Connection, found: Iterator[Any]) -> None:
        async with conn.cursor() as cursor, cursor.copy(QUERIES["copy_events"]) as copy:
            copy.set_types(_TYPES)
            for row in found:
                if isinstance(row, StoredRow):
                    time, state = moment(row.recorded_ms), self._mapper.stored(row.topic, row.state)
                    await copy.write_row((row.position, row.stream, row.version, row.topic, state, time))

    async def _write_keys_and_checkpoints(self, conn: Connection, summary: Summary) -> None:
        position = {"position": summary.last_position}
        await conn.execute(QUERIES["go_on"], position)
        await conn.execute(QUERIES["relay_from"], position)
        for key in summary.data_keys:
            await conn.execute(QUERIES["add_data_key"], {name: getattr(key, name) for name in key.__struct_fields__})
        if summary.whole:  # this instance's own key signs the newest
            for note in summary.checkpoints:
                checkpoint = Checkpoint.parse(text_of(note))
                if checkpoint.size < summary.checkpoint.size:
                    await conn.execute(QUERIES["add_checkpoint"], {**checkpoint._asdict(), "note": note})


class _Pieces:
    """Reads the next pieces, and the first record after them."""

    def __init__(self, found: Iterator[Any]) -> None:
        self._found = found
        self.following: Any = None

    async def all(self) -> AsyncIterator[bytes]:
        for record in self._found:
            if not isinstance(record, Piece):
                self.following = record
                return
            yield record.data

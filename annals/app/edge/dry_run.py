"""`?dryRun=true` on a write: it is validated as usual, and answers with the events that it would record.

The handler runs with replaced services: a log that rolls back its append and then ends the request, a blob store that
only measures, and an executor that starts nothing.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Sequence
from typing import Any

import msgspec

from annals.app.edge.answers import Answer, json_answer
from annals.app.edge.call import Call
from annals.domain.base import Aggregate, Key
from annals.store.content.blobs import Blob, Blobs, BlobTooLarge
from annals.store.log.log import Command, EventLog, Meta, Recorded


class WouldRecord(Exception):
    """Ends a dry run. It is not an error."""

    def __init__(self, recorded: Recorded) -> None:
        super().__init__()
        self.recorded = recorded

    @classmethod
    def all(cls, appends: Sequence[Recorded]) -> "WouldRecord":
        """Return the exception for a request with several appends, in this order. There is at least one."""
        return cls(appends[-1]._replace(events=[event for append in appends for event in append.events]))


class DryRunLog:
    """Ends the request at its first append, with the events that it would have recorded. Reads pass through.

    A handler with several appends runs each with `dry_run` and ends the request itself.
    """

    def __init__(self, log: EventLog) -> None:
        self._log = log

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    async def run(
        self, command: Command, *keys: Key, meta: Meta, contents: object = (), dry_run: bool = False, **arguments: Any
    ) -> Recorded:
        del contents
        recorded = await self._log.run(command, *keys, meta=meta, dry_run=True, **arguments)
        if dry_run:
            return recorded
        raise WouldRecord(recorded)

    async def record(
        self,
        aggregates: Sequence[Aggregate],
        *,
        meta: Meta,
        contents: object = (),
        takes: object = None,
        gives_back: object = None,
    ) -> Recorded:
        del contents, takes, gives_back  # a dry run neither waits for a concurrency slot nor frees one
        raise WouldRecord(await self._log.record(aggregates, meta=meta, dry_run=True))


class MeasuringBlobs:
    """Measures size and digest of contents, and neither stores nor deletes anything. Reads pass through."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs

    def __getattr__(self, name: str) -> Any:
        return getattr(self._blobs, name)

    async def put(self, key: str, data: bytes | AsyncIterable[bytes], *, limit: int | None = None) -> Blob:
        size, hashed = 0, hashlib.sha256()
        async for piece in _pieces(data):
            size += len(piece)
            hashed.update(piece)
            if limit is not None and size > limit:
                raise BlobTooLarge(f"{key} has more than {limit} bytes")
        return Blob(key, size, hashed.hexdigest())

    async def put_part(self, upload: str, number: int, data: bytes | AsyncIterable[bytes], *, limit: int) -> Blob:
        return await self.put(f"{upload}/{number:06d}", data, limit=limit)

    async def compose(self, upload: str, numbers: Iterable[int], key: str, *, limit: int | None = None) -> Blob:
        async def joined() -> AsyncIterator[bytes]:
            for number in numbers:
                async for piece in self._blobs.stream(f"{upload}/{number:06d}"):
                    yield piece

        return await self.put(key, joined(), limit=limit)

    async def delete(self, *_keys: str) -> None:
        return

    async def discard(self, _upload: str) -> None:
        return


class IdleExecutor:
    """Never runs anything: the request ends before."""

    async def execute(self, _run: object) -> None:
        await asyncio.Event().wait()


async def answer_dry_run(call: Call, handler: Callable[[Call], Awaitable[Any]]) -> Answer:
    """Return the events that an operation would record. Raises the errors of the operation."""
    services = call.services
    stands_in: dict[str, Any] = {
        "log": DryRunLog(services.log),
        "blobs": MeasuringBlobs(services.blobs),
        "executor": IdleExecutor(),
    }
    call.services = msgspec.structs.replace(services, **stands_in)
    events: Sequence[Any] = ()
    try:
        await handler(call)
    except WouldRecord as would:
        events = would.recorded.events
        call.seen(would.recorded.position)
    finally:
        call.services = services
    shown = await services.present_unrecorded(call.project_id, events)
    return json_answer({"total": len(shown), "events": shown})


async def _pieces(data: bytes | AsyncIterable[bytes]) -> AsyncIterable[bytes]:
    if isinstance(data, bytes):
        yield data
        return
    async for piece in data:
        yield piece

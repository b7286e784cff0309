"""The simulated blob store. A blob is complete or absent; an upload may fail or end its process."""

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from typing import Any

from annals.domain.ports import Artefact
from annals.store.content.blobs import Blob, BlobError, BlobInfo, BlobMissing


class BlobFaults:
    """How likely an upload fails before its bytes are published (`before`) or after it (`after`).

    `deadly` is how likely the writer's process dies in that case. Otherwise the writer gets an error.
    """

    def __init__(self) -> None:
        self.before = self.after = self.deadly = 0.0


class SimulatedBlobs:
    """A blob store in memory. `die` ends the process that uploads a blob; it does not return."""

    def __init__(self, rng: random.Random, die: Callable[[], Awaitable[None]]) -> None:
        self._rng, self._die = rng, die
        self.stored: dict[str, bytes] = {}
        self.faults = BlobFaults()

    def of_another(self, die: Callable[[], Awaitable[None]]) -> "SimulatedBlobs":
        """Return the same store as another process uses it."""
        view = SimulatedBlobs(self._rng, die)
        view.stored, view.faults = self.stored, self.faults
        return view

    async def put(self, key: str, data: bytes, *, limit: int | None = None) -> Blob:
        await self._while()
        await self._strike(self.faults.before)
        self.stored[key] = data
        await self._while()
        await self._strike(self.faults.after)
        return Blob(key, len(data), digest(data))

    async def get(self, key: str) -> bytes:
        await self._while()
        if key not in self.stored:
            raise BlobMissing(key)
        return self.stored[key]

    async def delete(self, *keys: str) -> None:
        await self._while()
        for key in keys:
            self.stored.pop(key, None)

    async def put_part(self, upload: str, number: int, data: AsyncIterator[bytes], *, limit: int) -> Blob:
        pieces = []
        async for piece in data:
            await self._while()
            pieces.append(piece)
        return await self.put(f"{upload}/{number}", b"".join(pieces))

    async def parts(self, upload: str) -> dict[int, int]:
        await self._while()
        prefix = f"{upload}/"
        return {int(key[len(prefix) :]): len(data) for key, data in self.stored.items() if key.startswith(prefix)}

    async def compose(self, upload: str, numbers: Iterable[int], key: str, *, limit: int | None = None) -> Blob:
        pieces = [await self.get(f"{upload}/{number}") for number in numbers]
        return await self.put(key, b"".join(pieces))

    async def discard(self, upload: str) -> None:
        for key in [key for key in self.stored if key.startswith(f"{upload}/")]:
            await self.delete(key)

    async def list(self, prefix: str) -> AsyncIterator[BlobInfo]:
        return
        yield

    def lacking(self, events: Iterable[Any]) -> Iterator[str]:
        """Yield a sentence for each blob that events name and that is missing or different."""
        for event in events:
            for named in (getattr(event, "source", None), getattr(event, "artefact", None)):
                if isinstance(named, Artefact) and digest(self.stored.get(named.key)) != named.digest:
                    yield f"{event.TOPIC} of {event.originator_id} names {named.key}, which is missing"

    async def _strike(self, likely: float) -> None:
        if self._rng.random() < likely:
            if self._rng.random() < self.faults.deadly:
                await self._die()
            raise BlobError("no space left on device")

    async def _while(self) -> None:
        await asyncio.sleep(self._rng.random() * 0.004)


def digest(data: bytes | None) -> str:
    return "" if data is None else hashlib.sha256(data).hexdigest()

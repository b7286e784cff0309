"""A blob store of the simulation: whole blobs and parts, each there at once or not."""

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator, Iterable

from annals.store.blobs import Blob, BlobInfo, BlobMissing


class SimulatedBlobs:
    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self.kept: dict[str, bytes] = {}

    async def put(self, key: str, data: bytes, *, limit: int | None = None) -> Blob:
        await self._while()
        self.kept[key] = data
        return Blob(key, len(data), hashlib.sha256(data).hexdigest())

    async def get(self, key: str) -> bytes:
        await self._while()
        if key not in self.kept:
            raise BlobMissing(key)
        return self.kept[key]

    async def delete(self, *keys: str) -> None:
        await self._while()
        for key in keys:
            self.kept.pop(key, None)

    async def put_part(self, upload: str, number: int, data: AsyncIterator[bytes], *, limit: int) -> Blob:
        pieces = []
        async for piece in data:
            await self._while()
            pieces.append(piece)
        return await self.put(f"{upload}/{number}", b"".join(pieces))

    async def parts(self, upload: str) -> dict[int, int]:
        await self._while()
        prefix = f"{upload}/"
        return {int(key[len(prefix) :]): len(data) for key, data in self.kept.items() if key.startswith(prefix)}

    async def compose(self, upload: str, numbers: Iterable[int], key: str, *, limit: int | None = None) -> Blob:
        pieces = [await self.get(f"{upload}/{number}") for number in numbers]
        return await self.put(key, b"".join(pieces))

    async def discard(self, upload: str) -> None:
        for key in [key for key in self.kept if key.startswith(f"{upload}/")]:
            await self.delete(key)

    async def list(self, prefix: str) -> AsyncIterator[BlobInfo]:
        return
        yield

    async def _while(self) -> None:
        await asyncio.sleep(self._rng.random() * 0.004)

"""Remove blobs that nothing names: left by appends that never committed and uploads that broke off."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta

from annals.store.content.blobs import BlobInfo, Blobs

Known = Callable[[Sequence[str]], Awaitable[set[str]]]
"""Which of some keys are still named by a row or an event."""

BATCH = 500


async def sweep(blobs: Blobs, prefix: str, known: Known, *, now: datetime, grace: timedelta) -> list[str]:
    """Delete blobs below `prefix` that are older than `grace` and that `known` does not name; return their keys.

    The grace must exceed the longest time between writing a blob and recording what names it.
    """
    removed: list[str] = []
    old: list[BlobInfo] = []
    async for info in blobs.list(prefix):
        if now - info.modified_at > grace:
            old.append(info)
        if len(old) >= BATCH:
            removed += await _remove(blobs, old, known)
            old = []
    return removed + await _remove(blobs, old, known)


async def _remove(blobs: Blobs, old: Sequence[BlobInfo], known: Known) -> list[str]:
    keys = [info.key for info in old]
    kept = await known(keys) if keys else set()
    orphans = [key for key in keys if key not in kept]
    await blobs.delete(*orphans)
    return orphans

"""The blob store, on a folder and in memory: one suite for both."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annals.store.content.blobs import PIECE, BlobError, BlobKeyInvalid, BlobMissing, Blobs, BlobTooLarge, check, sweep


@pytest.fixture(params=["folder", "memory"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> Blobs:
    return Blobs.open(tmp_path / "blobs" if request.param == "folder" else "memory:///")


async def pieces(*data: bytes) -> AsyncIterator[bytes]:
    for piece in data:
        yield piece


async def keys(blobs: Blobs, prefix: str) -> list[str]:
    return sorted([info.key async for info in blobs.list(prefix)])


@pytest.mark.parametrize("size", [0, 1, PIECE - 1, PIECE, 3 * PIECE + 7])
async def test_bytes_come_back_with_their_size_and_digest(blobs: Blobs, size: int) -> None:
    data = bytes(range(256)) * (size // 256 + 1)
    data = data[:size]

    blob = await blobs.put("a/b", data)

    assert blob == ("a/b", size, hashlib.sha256(data).hexdigest())
    assert await blobs.get("a/b") == data
    assert b"".join([piece async for piece in blobs.stream("a/b")]) == data
    assert (await blobs.head("a/b")).size == size


async def test_stream_of_any_pieces_is_one_blob(blobs: Blobs) -> None:
    blob = await blobs.put("a", pieces(b"x" * 10, b"", b"y" * (2 * PIECE), b"z"))

    assert blob.size == 2 * PIECE + 11
    assert (await blobs.get("a"))[-2:] == b"yz"


async def test_ranges_are_read_without_the_rest(blobs: Blobs) -> None:
    await blobs.put("a", b"0123456789")

    assert b"".join([piece async for piece in blobs.stream("a", 7)]) == b"789"
    assert b"".join([piece async for piece in blobs.stream("a", 2, 5)]) == b"234"


async def test_putting_again_replaces(blobs: Blobs) -> None:
    await blobs.put("a", b"first")
    await blobs.put("a", b"2nd")

    assert await blobs.get("a") == b"2nd"


async def test_missing_blob_raises_blob_missing(blobs: Blobs) -> None:
    with pytest.raises(BlobMissing):
        await blobs.get("nothing/here")
    with pytest.raises(BlobMissing):
        await blobs.head("nothing/here")
    with pytest.raises(BlobMissing):
        await anext(blobs.stream("nothing/here"))
    await blobs.delete("nothing/here")


async def test_oversized_blob_is_refused_and_not_stored(blobs: Blobs) -> None:
    with pytest.raises(BlobTooLarge):
        await blobs.put("a", pieces(*[b"x" * PIECE] * 4), limit=3 * PIECE)

    with pytest.raises(BlobMissing):
        await blobs.head("a")


async def test_upload_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    blobs = Blobs.open(tmp_path)

    async def broken() -> AsyncIterator[bytes]:
        yield b"x" * 2 * PIECE
        raise ConnectionResetError

    with pytest.raises(BlobError):
        await blobs.put("a", broken())

    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


async def test_cancelled_upload_leaves_nothing(tmp_path: Path) -> None:
    blobs = Blobs.open(tmp_path)
    begun = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        yield b"x" * 2 * PIECE
        begun.set()
        await asyncio.Event().wait()
        yield b""

    task = asyncio.create_task(blobs.put("a", endless()))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


async def test_parts_come_in_any_order_at_once_and_twice(blobs: Blobs) -> None:
    await asyncio.gather(*(blobs.put_part("up/1", n, bytes([65 + n]) * 10, limit=10) for n in (2, 0, 1, 2)))

    assert await blobs.parts("up/1") == {0: 10, 1: 10, 2: 10}
    composed = await blobs.compose("up/1", range(3), "done/1")

    assert await blobs.get("done/1") == b"A" * 10 + b"B" * 10 + b"C" * 10
    assert composed.digest == hashlib.sha256(await blobs.get("done/1")).hexdigest()
    await blobs.discard("up/1")
    assert await blobs.parts("up/1") == {}


async def test_composing_with_a_part_missing_makes_nothing(blobs: Blobs) -> None:
    await blobs.put_part("up/1", 0, b"a", limit=10)

    with pytest.raises(BlobMissing):
        await blobs.compose("up/1", range(2), "done/1")
    with pytest.raises(BlobMissing):
        await blobs.head("done/1")


async def test_prefix_lists_whole_segments_only(blobs: Blobs) -> None:
    for key in ("p/a", "p/b/c", "pp/d"):
        await blobs.put(key, b"x")

    assert await keys(blobs, "p") == ["p/a", "p/b/c"]


@pytest.mark.parametrize("key", ["", "/a", "a/", "a//b", "../a", "a/../b", ".partial/x", "a/./b", "a\\b", "a\0b", "é"])
async def test_keys_that_could_leave_the_store_are_refused(blobs: Blobs, key: str) -> None:
    with pytest.raises(BlobKeyInvalid):
        await blobs.put(key, b"x")
    with pytest.raises(BlobKeyInvalid):
        await blobs.get(key)


@given(st.text(max_size=30))
def test_key_that_passes_stays_inside_its_folder(key: str) -> None:
    try:
        check(key)
    except BlobKeyInvalid:
        return
    root = Path("/root-of-store")
    assert (root / key).resolve().is_relative_to(root)
    assert (root / key).resolve() != root


async def test_orphans_older_than_the_grace_are_swept_and_nothing_else(blobs: Blobs) -> None:
    for key in ("c/known", "c/orphan", "other/orphan"):
        await blobs.put(key, b"x")

    async def known(_keys: object) -> set[str]:
        return {"c/known"}

    now = datetime.now(UTC)
    assert await sweep(blobs, "c", known, now=now, grace=timedelta(hours=1)) == []
    assert await sweep(blobs, "c", known, now=now + timedelta(hours=2), grace=timedelta(hours=1)) == ["c/orphan"]
    assert await keys(blobs, "c") == ["c/known"]
    assert await keys(blobs, "other") == ["other/orphan"]


def test_invalid_location_raises_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for location in (tmp_path / "file" / "below", "nonsense://x"):
        with pytest.raises(BlobError, match="cannot be opened"):
            Blobs.open(location)


async def test_unfinished_files_of_dead_processes_are_removed_and_those_of_living_ones_stay(tmp_path: Path) -> None:
    blobs = Blobs.open(tmp_path)
    go_on = asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        yield b"x" * PIECE
        await go_on.wait()
        yield b"y"

    writing = asyncio.create_task(blobs.put("slow", slowly()))
    while not any(path.stat().st_size for path in (tmp_path / ".partial").iterdir()):
        await asyncio.sleep(0.01)
    (tmp_path / ".partial" / "left").write_bytes(b"half")
    (tmp_path / ".partial" / "young").write_bytes(b"just begun")
    for path in (tmp_path / ".partial").iterdir():
        if path.name != "young":
            os.utime(path, (0, 0))

    assert await blobs.forget_unfinished() == 1

    assert not (tmp_path / ".partial" / "left").exists()
    assert (tmp_path / ".partial" / "young").exists()
    go_on.set()
    assert (await writing).size == PIECE + 1


class SweptBefore(ThreadPoolExecutor):
    """Threads that sweep unfinished files before each step, as on a disk that is slower than the sweep."""

    def __init__(self, blobs: Blobs, folder: Path) -> None:
        super().__init__(1)
        self._blobs, self._folder = blobs, folder
        self.swept = 0

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        return super().submit(self._after_a_sweep, fn, *args, **kwargs)

    def _after_a_sweep(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        for path in (self._folder / ".partial").iterdir():
            os.utime(path, (0, 0))
        self.swept += asyncio.run(self._blobs.forget_unfinished())
        return fn(*args, **kwargs)


async def test_slow_upload_is_not_swept_as_unfinished(tmp_path: Path) -> None:
    blobs = Blobs.open(tmp_path)
    (tmp_path / ".partial" / "left").write_bytes(b"half")
    threads = SweptBefore(blobs, tmp_path)
    asyncio.get_running_loop().set_default_executor(threads)

    await blobs.put("slow", b"x" * 2 * PIECE)

    assert len(await blobs.get("slow")) == 2 * PIECE
    assert threads.swept == 1, "what was left, and nothing else"

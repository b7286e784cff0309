"""Logs that are too long for a record: whole in the blob store, limited in size, without delays for the code."""

import asyncio
from collections.abc import AsyncIterable
from pathlib import Path

import pytest

from annals.executor.logs import spool as spool_module
from annals.executor.logs.channel import KEPT, ExecutionLog
from annals.executor.logs.frames import ERRORS, LOGS
from annals.executor.logs.spool import Spools
from annals.store.content.blobs import Blob, BlobError, Blobs

LIMIT = 12_000_000


class Failing(Blobs):
    """A store that breaks off."""

    async def put(self, key: str, data: bytes | AsyncIterable[bytes], *, limit: int | None = None) -> Blob:
        raise BlobError("The bucket is gone.")


class Hanging(Blobs):
    """A store that never answers."""

    async def put(self, key: str, data: bytes | AsyncIterable[bytes], *, limit: int | None = None) -> Blob:
        await asyncio.Event().wait()
        raise AssertionError("It has answered.")


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    return Blobs.open(tmp_path / "blobs")


def log_over(blobs: Blobs, folder: Path, limit: int = LIMIT) -> ExecutionLog:
    return ExecutionLog(lambda: Spools(blobs, folder, limit).begin("contents/p"))


async def test_log_that_fits_into_the_record_is_not_spooled(blobs: Blobs, tmp_path: Path) -> None:
    log = log_over(blobs, tmp_path)
    log.add(LOGS, b"x" * 1_000_000)

    assert await log.whole() == []


async def test_growing_long_log_is_stored_whole(blobs: Blobs, tmp_path: Path) -> None:
    log = log_over(blobs, tmp_path)
    pieces = [bytes([65 + n]) * 900_000 for n in range(8)]
    for piece in pieces:
        log.add(ERRORS, piece)
        await asyncio.sleep(0)
    log.add(LOGS, b"short")

    [whole] = await log.whole()
    assert (whole.kind, whole.size) == ("errors", 7_200_000)
    assert whole.key.startswith("contents/p/")
    assert await blobs.get(whole.key) == b"".join(pieces)
    assert log.text(ERRORS).startswith(b"".join(pieces)[:KEPT].decode())


async def test_single_piece_larger_than_a_record_is_kept_whole(blobs: Blobs, tmp_path: Path) -> None:
    log = log_over(blobs, tmp_path)
    log.add(LOGS, b"first\n")
    log.add(LOGS, b"y" * 7_000_000)

    [whole] = await log.whole()
    assert await blobs.get(whole.key) == b"first\n" + b"y" * 7_000_000


async def test_text_beyond_the_limit_is_replaced_by_a_notice(blobs: Blobs, tmp_path: Path) -> None:
    log = log_over(blobs, tmp_path, 2_000_000)
    for _ in range(9):
        log.add(LOGS, b"y" * 800_000)

    assert not log.takes(LOGS)
    [whole] = await log.whole()
    assert await blobs.get(whole.key) == b"y" * 2_000_000 + b"\nLog file has been truncated to 2000000 bytes."


async def test_nothing_is_spooled_without_a_limit_or_a_prefix(blobs: Blobs, tmp_path: Path) -> None:
    assert Spools(blobs, tmp_path, 0).begin("contents/p") is None
    assert Spools(blobs, tmp_path, LIMIT).begin("") is None


@pytest.mark.parametrize("kind", [Failing, Hanging])
async def test_failing_store_loses_only_the_whole_log(
    kind: type[Blobs], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool_module, "FINISH_SECONDS", 0.1)
    log = log_over(kind.open(tmp_path / "blobs"), tmp_path)
    log.add(LOGS, b"y" * 2_000_000)

    assert await log.whole() == []
    assert log.text(LOGS) == "y" * 2_000_000


async def test_missing_disk_loses_only_the_whole_log(blobs: Blobs, tmp_path: Path) -> None:
    log = log_over(blobs, tmp_path / "gone")
    for _ in range(3):
        log.add(LOGS, b"y" * 600_000)

    assert await log.whole() == []
    assert len(log.text(LOGS)) == 1_800_000


async def test_spool_that_is_dropped_leaves_nothing(blobs: Blobs, tmp_path: Path) -> None:
    log = log_over(blobs, tmp_path)
    log.add(LOGS, b"y" * 2_000_000)
    await log.drop()

    assert [info.key async for info in blobs.list("contents")] == []

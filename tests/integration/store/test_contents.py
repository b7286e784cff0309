"""Contents beside the events: stored with the append, verified when read, and deleted without a trace in the log."""

from pathlib import Path

import pytest

from annals.store.content.contents import ROW_LIMIT, Content
from annals.store.errors import ContentDamaged, ContentMissing
from annals.store.log.log import EventLog
from tests.integration.store.conftest import META
from tests.integration.store.ledger import AccountTaken, NameTaken, absent, open_account

STREAM = "account:p:a"


def blobs_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize(("size", "blobs"), [(1, 0), (ROW_LIMIT, 0), (ROW_LIMIT + 1, 1), (2_000_000, 1)])
async def test_small_contents_are_rows_and_large_contents_are_blobs(
    log: EventLog, tmp_path: Path, size: int, blobs: int
) -> None:
    data = b"\0\xff" * size
    await log.run(open_account, absent("a"), meta=META, contents=[Content(STREAM, "scan", data[:size])], account="a")

    assert await log.contents.read(STREAM, "scan") == data[:size]
    assert len(blobs_in(tmp_path / "blobs")) == blobs


async def test_empty_content_is_not_stored(log: EventLog) -> None:
    await log.run(open_account, absent("a"), meta=META, contents=[Content(STREAM, "scan", b"")], account="a")

    assert await log.contents.find(STREAM, "scan") is None
    with pytest.raises(ContentMissing):
        await log.contents.read(STREAM, "scan")


async def test_refused_command_writes_no_blob(log: EventLog, tmp_path: Path) -> None:
    await log.run(open_account, absent("a"), meta=META, account="a")
    large = [Content(STREAM, "scan", b"x" * 100_000)]

    with pytest.raises(AccountTaken):
        await log.run(open_account, absent("a"), meta=META, contents=large, account="a", name="other")
    with pytest.raises(NameTaken):
        await log.run(
            open_account, absent("b"), meta=META, contents=[Content("account:p:b", "n", b"s")], account="b", name="a"
        )

    assert await log.contents.find("account:p:b", "n") is None
    orphans = len(blobs_in(tmp_path / "blobs"))
    assert orphans <= 1  # the id looked free at first; the sweeper takes what an append left


async def test_tampering_with_a_row_or_a_blob_is_detected(log: EventLog, tmp_path: Path) -> None:
    contents = [Content(STREAM, "note", b"small"), Content(STREAM, "scan", b"x" * 100_000)]
    await log.run(open_account, absent("a"), meta=META, contents=contents, account="a")
    await log.database.execute("UPDATE contents SET data = 'other' WHERE kind = 'note'")
    (blob,) = blobs_in(tmp_path / "blobs")
    blob.write_bytes(b"y" * 100_000)

    for kind in ("note", "scan"):
        with pytest.raises(ContentDamaged, match=kind):
            await log.contents.read(STREAM, kind)


async def test_content_can_be_replaced_outside_an_append(log: EventLog, tmp_path: Path) -> None:
    for data in (b"x" * 100_000, b"y" * 100_001, b"z"):
        await log.contents.put(Content(STREAM, "log", data), 3)
        assert await log.contents.read(STREAM, "log") == data

    assert blobs_in(tmp_path / "blobs") == []


async def test_newest_content_is_read_unless_it_is_too_old(log: EventLog) -> None:
    for version in (2, 5):
        await log.contents.put(Content(STREAM, "log", b"%d" % version), version)

    assert await log.contents.read(STREAM, "log") == b"5"
    assert await log.contents.read(STREAM, "log", version=2) == b"2"
    with pytest.raises(ContentMissing):
        await log.contents.read(STREAM, "log", since=6)


async def test_dropped_contents_are_removed_from_rows_and_blobs(log: EventLog, tmp_path: Path) -> None:
    contents = [Content(STREAM, "note", b"small"), Content(STREAM, "scan", b"x" * 100_000)]
    await log.run(open_account, absent("a"), meta=META, contents=contents, account="a")

    assert await log.contents.drop([STREAM, "account:p:never"]) == 2

    assert blobs_in(tmp_path / "blobs") == []
    with pytest.raises(ContentMissing):
        await log.contents.read(STREAM, "scan")


async def test_sweeper_learns_which_blobs_are_known(log: EventLog) -> None:
    await log.run(open_account, absent("a"), meta=META, contents=[Content(STREAM, "s", b"x" * 99_000)], account="a")
    (key,) = [info.key async for info in log.contents.blobs.list("contents")]

    assert await log.contents.known([key, "contents/p/unknown"]) == {key}

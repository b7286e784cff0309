"""What instances log reaches the execution it belongs to, bounded, in order, whatever else is sent."""

import asyncio
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from annals.executor.logs import ERRORS, KEPT, LOGS, LogChannel, LogFiles


def frame(kind: int, log_id: bytes, data: bytes = b"") -> bytes:
    return struct.pack(">IBB", 2 + len(log_id) + len(data), kind, len(log_id)) + log_id + data


class Served:
    def __init__(self, channel: LogChannel, writer: asyncio.StreamWriter, reader: asyncio.StreamReader) -> None:
        self.channel, self.writer, self.reader = channel, writer, reader


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    with TemporaryDirectory(prefix="lg-", dir="/tmp") as folder:
        channel = LogChannel()
        await channel.listen(Path(folder), "logs.sock")
        reader, writer = await asyncio.open_unix_connection(f"{folder}/logs.sock")
        yield Served(channel, writer, reader)
        writer.close()
        channel.close()


async def test_frames_are_sorted_by_execution_and_stream(served: Served) -> None:
    first, second = served.channel.open("one"), served.channel.open("two")
    served.writer.write(
        frame(0, b"one", b"a") + frame(1, b"two", b"x") + frame(0, b"one", b"b") + frame(0, b"nobody", b"?")
    )
    served.writer.write(frame(2, b"one") + frame(2, b"two"))
    await served.channel.finish("two", second)

    assert (first.text(LOGS), first.text(ERRORS)) == ("ab", "")
    assert (second.text(LOGS), second.text(ERRORS)) == ("", "x")


async def test_frames_may_arrive_in_any_pieces(served: Served) -> None:
    log = served.channel.open("id")
    for byte in frame(0, b"id", "é".encode()) + frame(2, b"id"):
        served.writer.write(bytes([byte]))
        await served.writer.drain()
    await served.channel.finish("id", log)

    assert log.text(LOGS) == "é"


async def test_a_stream_is_kept_to_five_mebibytes_with_a_line_that_says_so(served: Served) -> None:
    log = served.channel.open("id")
    for _ in range(16):
        served.writer.write(frame(0, b"id", b"y" * 1024 * 1024))
        await served.writer.drain()
    served.writer.write(frame(2, b"id"))
    async with asyncio.timeout(10):
        await log.ended

    text = log.text(LOGS)
    assert text.startswith("y" * KEPT + "\n")
    assert text.endswith("truncated to 5.00MB.")


@pytest.mark.parametrize("garbage", [b"\0\0\0\0", b"\0\0\0\1a", b"\xff\xff\xff\xff....", b"GET / HTTP/1.1\r\n\r\n"])
async def test_what_is_no_frame_ends_the_connection(served: Served, garbage: bytes) -> None:
    served.writer.write(garbage)
    async with asyncio.timeout(5):
        assert await served.reader.read() == b""


async def test_a_log_whose_end_is_lost_is_not_waited_for_long(served: Served) -> None:
    log = served.channel.open("id")
    async with asyncio.timeout(2):
        await served.channel.finish("id", log)

    assert log.text(LOGS) == ""


async def test_log_files_are_read_once_and_links_in_their_place_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "id_logs.log").write_text("hello\n")
    (tmp_path / "id_errors.log").symlink_to(tmp_path / "secret")
    files = LogFiles(tmp_path)
    log = files.open("id")
    await files.finish("id", log)

    assert (log.text(LOGS), log.text(ERRORS)) == ("hello\n", "")
    assert not (tmp_path / "id_logs.log").exists()

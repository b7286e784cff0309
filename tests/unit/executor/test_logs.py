"""Output of instances reaches the right execution, limited in size and in order, beside any other bytes."""

import asyncio
import struct
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from annals.executor.logs import channel
from annals.executor.logs.channel import KEPT, ExecutionLog, LogChannel, LogFiles
from annals.executor.logs.frames import ERRORS, LOGS
from annals.executor.logs.throttle import Rates


def frame(kind: int, log_id: bytes, data: bytes = b"") -> bytes:
    return struct.pack(">IBB", 2 + len(log_id) + len(data), kind, len(log_id)) + log_id + data


class Served:
    def __init__(self, path: str) -> None:
        self.path = path
        self.faults: list[str] = []
        self.channel = LogChannel(self.faults.append)

    async def connect(self) -> None:
        self.reader, self.writer = await asyncio.open_unix_connection(self.path)


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    with TemporaryDirectory(prefix="lg-", dir="/tmp") as folder:
        made = Served(f"{folder}/logs.sock")
        await made.channel.listen(Path(folder), "logs.sock")
        await made.connect()
        yield made
        made.writer.close()
        made.channel.close()


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


async def test_stream_is_kept_to_five_mebibytes_with_a_line_that_says_so(served: Served) -> None:
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


@pytest.mark.parametrize(
    "garbage",
    [b"\0\0\0\0", b"\0\0\0\1a", b"\xff\xff\xff\xff....", b"GET / HTTP/1.1\r\n\r\n", frame(0, b"id"), frame(1, b"")],
)
async def test_garbage_and_empty_frames_end_the_connection_with_a_sentence(served: Served, garbage: bytes) -> None:
    log = served.channel.open("id")
    served.writer.write(frame(0, b"id", b"said before") + garbage * 3)
    async with asyncio.timeout(5):
        assert await served.reader.read() == b""

    assert len(served.faults) == 1
    assert served.faults[0].startswith("it wrote ")
    assert log.text(LOGS) == "said before"


async def test_only_the_first_connection_is_served(served: Served) -> None:
    log = served.channel.open("id")
    served.writer.write(frame(0, b"id", b"first") + frame(2, b"id"))
    async with asyncio.timeout(5):
        await log.ended

    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_unix_connection(served.path)
    assert served.faults == []


async def test_buffered_frames_are_parsed_without_blocking_other_work(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel, "TURN_SECONDS", 0.0)
    log = served.channel.open("id")
    turns = 0

    async def others() -> None:
        nonlocal turns
        while not log.ended.done():
            turns += 1
            await asyncio.sleep(0)

    served.writer.write(frame(0, b"id", b"x") * 20 * channel.TURN_FRAMES + frame(2, b"id"))
    async with asyncio.timeout(30):
        await others()

    assert log.text(LOGS) == "x" * 20 * channel.TURN_FRAMES
    assert turns > 20


@pytest.mark.parametrize("scarce", ["size", "items", "reads", "cpu"])
async def test_writer_beyond_its_rate_is_blocked_and_nothing_is_buffered(
    served: Served, monkeypatch: pytest.MonkeyPatch, scarce: str
) -> None:
    monkeypatch.setattr(channel, "RATES", Rates(1e9, 1e9, 1e9, 1e9)._replace(**{scarce: 1e-6}))
    fresh = Served(f"{served.path}2")
    await fresh.channel.listen(Path(served.path).parent, "logs.sock2")
    await fresh.connect()
    fresh.writer.transport.set_write_buffer_limits(high=0)

    async def flood() -> None:
        for _ in range(200):  # far more than a socket holds
            fresh.writer.write(frame(0, b"id", b"xy") * 20_000)
            await fresh.writer.drain()

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(flood(), 1)
    fresh.writer.transport.abort()
    fresh.channel.close()


async def test_log_of_tiny_frames_takes_the_memory_of_its_text() -> None:
    log = ExecutionLog()
    tracemalloc.start()
    try:
        for _ in range(300_000):
            log.add(LOGS, b"x"[:1])
            log.add(ERRORS, bytes((121,)))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert log.text(LOGS) == "x" * 300_000
    assert peak < 2_000_000


async def test_log_whose_end_is_lost_is_not_waited_for_long(served: Served) -> None:
    log = served.channel.open("id")
    async with asyncio.timeout(2):
        await served.channel.finish("id", log)

    assert log.text(LOGS) == ""


async def test_log_files_are_read_once_and_links_instead_of_them_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "id_logs.log").write_text("hello\n")
    (tmp_path / "id_errors.log").symlink_to(tmp_path / "secret")
    files = LogFiles(tmp_path)
    log = files.open("id")
    await files.finish("id", log)

    assert (log.text(LOGS), log.text(ERRORS)) == ("hello\n", "")
    assert not (tmp_path / "id_logs.log").exists()

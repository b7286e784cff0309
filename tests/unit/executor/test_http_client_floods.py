"""A response in many pieces costs the executor limited time and memory, and leaves time for other tasks."""

import asyncio
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from annals.executor.pool import http_client
from annals.executor.pool.http_client import PIECES, FunctionResponse, InstanceEndpoint, ResponseTooLarge, request_head
from tests.unit.executor.servers import answering, serving

CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


@pytest.fixture
def folder() -> Iterator[Path]:
    with TemporaryDirectory(prefix="hf-", dir="/tmp") as path:
        yield Path(path)


async def ask(endpoint: InstanceEndpoint) -> FunctionResponse:
    connection = await endpoint.connect()
    try:
        async with asyncio.timeout(30):
            return await connection.request("GET", request_head("GET", "/", [("host", "x")], 0), b"")
    finally:
        endpoint.give_back(connection)


@pytest.mark.parametrize(
    "raw",
    [
        CHUNKED + b"1\r\nx\r\n" * (PIECES + 1),
        CONTINUE * 100_000,
        CHUNKED + b"1;" + b"e" * 4_000_000,
        CHUNKED + b"1\r\nx\r\n0\r\n" + b"t: x\r\n" * 100_000,
    ],
    ids=["tiny chunks", "interim answers", "a chunk's extension", "trailers"],
)
async def test_answer_of_endless_framing_is_cut_off(raw: bytes, folder: Path) -> None:
    async with serving(folder, answering(raw, hold=True), limit=100_000) as endpoint:
        with pytest.raises(ResponseTooLarge):
            await ask(endpoint)


async def test_body_of_tiny_chunks_takes_the_memory_of_its_bytes(folder: Path) -> None:
    data = b"1\r\nx\r\n" * 60_000
    connection = http_client.InstanceConnection(1 << 20)
    connection._waiter = asyncio.get_running_loop().create_future()
    connection.data_received(CHUNKED)
    tracemalloc.start()
    try:
        for start in range(0, len(data), 6000):
            connection.data_received(data[start : start + 6000])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert bytes(connection._body) == b"x" * 60_000
    assert peak < 300_000


async def test_buffered_large_answer_is_parsed_without_blocking_other_work(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_client, "TURN_SECONDS", 0.0)
    raw = CHUNKED + b"1\r\nx\r\n" * 60_000 + b"0\r\n\r\n"
    async with serving(folder, answering(raw, hold=True)) as endpoint:
        asked = asyncio.create_task(ask(endpoint))
        turns = 0
        while not asked.done():
            turns += 1
            await asyncio.sleep(0)

    assert (await asked).body == b"x" * 60_000
    assert turns > len(raw) / http_client.SLICE


async def test_slowly_arriving_answer_is_read_whole_in_larger_pieces(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_client, "SMALL_READS", http_client.SMALL_READS._replace(reads=20))
    reads = 0
    original = http_client.InstanceConnection.data_received

    def counted(self: http_client.InstanceConnection, data: bytes) -> None:
        nonlocal reads
        reads += 1
        original(self, data)

    monkeypatch.setattr(http_client.InstanceConnection, "data_received", counted)

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for byte in b"HTTP/1.1 200 OK\r\ncontent-length: 3000\r\n\r\n" + b"x" * 3000:
            writer.write(bytes((byte,)))
            await asyncio.sleep(0)
        await reader.read()

    async with serving(folder, drip) as endpoint:
        answer = await ask(endpoint)

    assert answer.body == b"x" * 3000
    assert reads < 500

"""DNS for tests: records in memory, served by a fake or by a name server on loopback over UDP and TCP."""

import asyncio
import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from annals.addresses import NameServer
from annals.app.proxy.dns import Unresolved

Records = dict[str, list[bytes]]
BROKEN = "broken.test"
"""The name for which no server has an answer."""


class FakeRecords:
    """The port without a network."""

    def __init__(self, records: Records) -> None:
        self._records = records

    async def of(self, name: str) -> Sequence[str]:
        if name == BROKEN:
            raise Unresolved(name)
        return [text.decode("utf-8", "replace") for text in self._records.get(name, [])]


def response(query: bytes, records: Records, *, most: int) -> bytes:
    """Return the answer of a recursive resolver in at most so many bytes."""
    name, at = [], 12
    while size := query[at]:
        name.append(query[at + 1 : at + 1 + size].decode())
        at += 1 + size
    asked, texts = query[12:], records.get(".".join(name).lower())
    if ".".join(name) == BROKEN:
        return query[:2] + struct.pack("!5H", 0x8182, 1, 0, 0, 0) + asked
    body = b""
    for text in texts or []:
        data = b"".join(bytes([len(part)]) + part for part in _parts(text))
        body += struct.pack("!HHHIH", 0xC00C, 16, 1, 60, len(data)) + data
    if 12 + len(asked) + len(body) > most:
        return query[:2] + struct.pack("!5H", 0x8380, 1, 0, 0, 0) + asked
    flags = 0x8180 if texts is not None else 0x8183
    return query[:2] + struct.pack("!5H", flags, 1, len(texts or []), 0, 0) + asked + body


def _parts(text: bytes) -> list[bytes]:
    return [text[start : start + 255] for start in range(0, len(text), 255)] or [b""]


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, records: Records) -> None:
        self._records = records
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.DatagramTransport) or hasattr(transport, "sendto")
        self._transport = transport  # type: ignore[assignment]

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        assert self._transport is not None
        self._transport.sendto(b"\0\0 of another query", address)
        self._transport.sendto(response(data, self._records, most=512), address)


@asynccontextmanager
async def name_server(records: Records) -> AsyncIterator[NameServer]:
    """A name server on loopback, on one port of UDP and TCP."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        (size,) = struct.unpack("!H", await reader.readexactly(2))
        shown = response(await reader.readexactly(size), records, most=65_535)
        writer.write(struct.pack("!H", len(shown)) + shown)
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as serving:
        port = serving.sockets[0].getsockname()[1]
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(records), ("127.0.0.1", port))
        try:
            yield NameServer("127.0.0.1", port)
        finally:
            transport.close()

"""A DNS client that reads TXT records (RFC 1035): one question to a recursive resolver, with bounds on time and size.

It only asks the configured resolvers and never connects to an address from an answer.
"""

import asyncio
import contextlib
import secrets
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

from annals.addresses import NameServer, parse_name_servers

ATTEMPTS, SECONDS, MOST_SERVERS = 2, 2.0, 3
"""Attempts for each resolver, seconds for each attempt, and the number of configured resolvers that are used."""

AT_ONCE = 16
"""Concurrent lookups of one process. Further lookups wait."""

LONGEST_NAME, LONGEST_LABEL = 253, 63
_HEADER = struct.Struct("!6H")
_RECORD = struct.Struct("!HHIH")
_TXT, _IN = 16, 1
_RESPONSE, _TRUNCATED, _RECURSE, _CODE = 0x8000, 0x0200, 0x0100, 0x000F
_NO_SUCH_NAME = 3


def system_servers(path: Path = Path("/etc/resolv.conf")) -> list[NameServer]:
    """Return the resolvers that this host uses."""
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    found = [words[1] for line in lines if len(words := line.split()) > 1 and words[0] == "nameserver"]
    return [NameServer(host) for host in found] or [NameServer("127.0.0.1")]


class Unresolved(Exception):
    """No resolver gave a usable answer."""


class Malformed(ValueError):
    """A message that does not answer the question."""


class Resolver:
    """Reads TXT records from recursive resolvers."""

    def __init__(self, servers: Sequence[NameServer], *, seconds: float = SECONDS) -> None:
        self._servers, self._seconds = servers[:MOST_SERVERS], seconds
        self._turn = asyncio.Semaphore(AT_ONCE)

    @classmethod
    def configured(cls, servers: Sequence[str]) -> Self:
        """Return a resolver that asks the configured servers, or those of this host if the setting is empty."""
        return cls(parse_name_servers(servers) or system_servers())

    async def of(self, name: str) -> list[str]:
        """Return the texts of a name, or an empty list if it has none. Raises Unresolved."""
        async with self._turn:
            for server in [*self._servers] * ATTEMPTS:
                with contextlib.suppress(OSError, Malformed, TimeoutError, asyncio.IncompleteReadError):
                    async with asyncio.timeout(self._seconds):
                        return await _ask(server, name)
        raise Unresolved(f"No DNS resolver answered for {name}.")


def question(number: int, name: str) -> bytes:
    """Return a query for the TXT records of a name. Raises Unresolved for a name that DNS cannot hold."""
    labels = name.encode("ascii").split(b".")
    if len(name) > LONGEST_NAME or any(not 0 < len(label) <= LONGEST_LABEL for label in labels):
        raise Unresolved(f"{name} is not a valid DNS name.")
    encoded = b"".join(bytes([len(label)]) + label for label in labels) + b"\0"
    return _HEADER.pack(number, _RECURSE, 1, 0, 0, 0) + encoded + struct.pack("!2H", _TXT, _IN)


def answered(query: bytes, message: bytes) -> list[str] | None:
    """Return the texts that a message answers a query with, or None if it was truncated and must be read by TCP.

    Raises Malformed.
    """
    if len(message) < len(query) or message[:2] != query[:2]:
        raise Malformed("not an answer to this query")
    _, flags, questions, answers, _, _ = _HEADER.unpack_from(message)
    question_bytes = query[_HEADER.size :]
    if not flags & _RESPONSE or questions != 1 or message[_HEADER.size : len(query)].lower() != question_bytes.lower():
        raise Malformed("an answer to another question")
    if flags & _TRUNCATED:
        return None
    if flags & _CODE == _NO_SUCH_NAME:
        return []
    if flags & _CODE:
        raise Malformed("the resolver failed")
    try:
        return list(_texts(message, len(query), answers))
    except (IndexError, struct.error) as error:
        raise Malformed("records that are cut off") from error


def _texts(message: bytes, at: int, count: int) -> Iterator[str]:
    for _ in range(count):
        at = _behind_name(message, at)
        kind, family, _, size = _RECORD.unpack_from(message, at)
        at += _RECORD.size
        data, at = message[at : at + size], at + size
        if len(data) < size:
            raise IndexError
        if (kind, family) == (_TXT, _IN):
            yield b"".join(_strings(data)).decode("utf-8", "replace")


def _strings(data: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(data):
        size = data[at]
        if at + 1 + size > len(data):
            raise IndexError
        yield data[at + 1 : at + 1 + size]
        at += 1 + size


def _behind_name(message: bytes, at: int) -> int:
    """Return the offset after a name: it ends with its empty label, or with a pointer, which need not be followed."""
    while size := message[at]:
        if size >= 0xC0:
            return at + 2
        at += 1 + size
    return at + 1


async def _ask(server: NameServer, name: str) -> list[str]:
    query = question(secrets.randbelow(1 << 16), name)
    found = await _by_udp(server, query)
    return await _by_tcp(server, query) if found is None else found


async def _by_udp(server: NameServer, query: bytes) -> list[str] | None:
    loop = asyncio.get_running_loop()
    transport, listening = await loop.create_datagram_endpoint(lambda: _Listening(query), remote_addr=server)
    try:
        transport.sendto(query)
        return await listening.found
    finally:
        transport.close()


async def _by_tcp(server: NameServer, query: bytes) -> list[str]:
    reader, writer = await asyncio.open_connection(*server)
    try:
        writer.write(struct.pack("!H", len(query)) + query)
        (size,) = struct.unpack("!H", await reader.readexactly(2))
        found = answered(query, await reader.readexactly(size))
    finally:
        writer.close()
    if found is None:
        raise Malformed("cut off by TCP too")
    return found


class _Listening(asyncio.DatagramProtocol):
    """Waits for the answer to one query and ignores other datagrams."""

    def __init__(self, query: bytes) -> None:
        self._query = query
        self.found: asyncio.Future[list[str] | None] = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, _address: object) -> None:
        if self.found.done() or data[:2] != self._query[:2]:
            return
        try:
            self.found.set_result(answered(self._query, data))
        except Malformed as error:
            self.found.set_exception(error)

    def error_received(self, error: Exception) -> None:
        if not self.found.done():
            self.found.set_exception(error)

"""A closed-loop HTTP/1.1 load generator: each caller keeps one connection and waits for its answer."""

import asyncio
import statistics
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import httptools
import uvloop


class Load(NamedTuple):
    """The result of a load: answers a second, times in milliseconds, and the number of answers with another status."""

    rate: float
    p50: float
    p95: float
    p99: float
    answers: int
    wrong: int
    first_wrong: str


class _Connection(asyncio.Protocol):
    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.answer: asyncio.Future[int] | None = None
        self.body: list[bytes] = []
        self.parser = httptools.HttpResponseParser(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.answer and not self.answer.done():
            self.answer.set_exception(ConnectionError(f"the server closed the connection: {exc}"))

    def on_body(self, body: bytes) -> None:
        self.body.append(body)

    def on_message_complete(self) -> None:
        if self.answer and not self.answer.done():
            self.answer.set_result(self.parser.get_status_code())
        self.parser = httptools.HttpResponseParser(self)

    async def ask(self, request: bytes) -> int:
        assert self.transport is not None
        self.answer = asyncio.get_running_loop().create_future()
        self.body = []
        self.transport.write(request)
        return await self.answer


def request(method: str, path: str, headers: dict[str, str], body: bytes = b"") -> bytes:
    """Return a request as bytes, which is made once and sent many times."""
    lines = [f"{method} {path} HTTP/1.1", "host: 127.0.0.1", *(f"{n}: {v}" for n, v in headers.items())]
    if body or method != "GET":
        lines.append(f"content-length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


Requests = Callable[[int], Iterator[bytes]]
"""Returns the requests of a caller by its number; the caller sends them one after another."""


def always(message: bytes) -> Requests:
    """Let every caller repeat one request."""

    def sent(_: int) -> Iterator[bytes]:
        while True:
            yield message

    return sent


async def _load(port: int, requests: Requests, *, callers: int, seconds: float, wanted: int, warm: float) -> Load:
    loop = asyncio.get_running_loop()
    times: list[float] = []
    wrong: list[str] = []
    measuring = loop.time() + warm
    until = measuring + seconds

    async def caller(number: int) -> None:
        _, connection = await loop.create_connection(_Connection, "127.0.0.1", port)
        for message in requests(number):
            started = time.perf_counter()
            status = await connection.ask(message)
            now = loop.time()
            if now > until:
                break
            if now >= measuring:
                times.append(time.perf_counter() - started)
            if status != wanted:
                wrong.append(f"{status} {b''.join(connection.body)[:200]!r}")
        if connection.transport:
            connection.transport.close()

    await asyncio.gather(*(caller(n) for n in range(callers)))
    if not times:
        raise RuntimeError(f"no answer in {seconds} s; {wrong[:1]}")
    cuts = statistics.quantiles(times, n=100, method="inclusive") if len(times) > 1 else [times[0]] * 99
    return Load(
        rate=len(times) / seconds,
        p50=cuts[49] * 1e3,
        p95=cuts[94] * 1e3,
        p99=cuts[98] * 1e3,
        answers=len(times),
        wrong=len(wrong),
        first_wrong=wrong[0] if wrong else "",
    )


def load(
    port: int, requests: Requests, *, callers: int, seconds: float = 3.0, wanted: int = 200, warm: float = 0.5
) -> Load:
    """Run callers against 127.0.0.1:port for some seconds after a warm-up; the same process measures."""
    return uvloop.run(_load(port, requests, callers=callers, seconds=seconds, wanted=wanted, warm=warm))

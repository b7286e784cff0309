"""A proxy in front of any stream socket, which injects the faults that a test asks for."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Self, TypeVar

T = TypeVar("T")

_PIECE = 64 * 1024
_CALL_SECONDS = 60


class _Pair:
    """A client's connection, and the proxy's own connection to the server."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self.client, self.server = client, server
        self.half_closed = self.swallowed = False

    def abort(self) -> None:
        self.client.transport.abort()
        self.server.transport.abort()


class Proxy:
    """Listens on a unix socket and forwards to another one; runs in its own thread until `close`.

    Faults apply to present and new connections until `heal`; `cut` and `half_close` happen once.
    """

    def __init__(self, listen: Path, behind: Path) -> None:
        self.listen, self.behind = listen, behind
        self._pairs: set[_Pair] = set()
        self._server: asyncio.Server | None = None
        self._delay = 0.0
        self._bytes_a_second = 0.0
        self._loop = asyncio.new_event_loop()
        self._unanswered = b""
        self._flows = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"proxy {listen.name}", daemon=True)

    def open(self) -> Self:
        self._thread.start()
        self._do(self._open)
        return self

    def close(self) -> None:
        """Cut every connection, and end the thread."""
        self._do(self._close)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_CALL_SECONDS)
        self._loop.close()

    def heal(self) -> None:
        """End every fault; bytes that were held back go on."""
        self._do(self._heal)

    def cut(self) -> None:
        """Break every connection; new ones are accepted."""
        self._do(self._cut)

    def refuse(self) -> None:
        """Break every connection and accept none."""
        self._do(self._refuse)

    def hang(self) -> None:
        """Accept connections and bytes, but forward nothing."""
        self._do(self._hang)

    def swallow_answers_to(self, words: bytes) -> None:
        """Forward a request with these words, but drop all later answers on its connection."""
        self._unanswered = words

    def delay(self, seconds: float) -> None:
        """Forward each piece after this delay."""
        self._delay = seconds

    def throttle(self, bytes_a_second: float) -> None:
        """Forward at most this rate in each direction."""
        self._bytes_a_second = bytes_a_second

    def half_close(self) -> None:
        """Close the sending side to every client; the server sees no change."""
        self._do(self._half_close)

    def _do(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        return asyncio.run_coroutine_threadsafe(work(), self._loop).result(_CALL_SECONDS)

    async def _open(self) -> None:
        self._flows.set()
        self.listen.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._accept, str(self.listen), backlog=512)

    async def _close(self) -> None:
        await self._refuse()
        await self._heal_flow()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _heal(self) -> None:
        await self._heal_flow()
        if self._server is None:
            await self._open()

    async def _heal_flow(self) -> None:
        self._delay = self._bytes_a_second = 0.0
        self._unanswered = b""
        self._flows.set()

    async def _cut(self) -> None:
        for pair in tuple(self._pairs):
            pair.abort()

    async def _refuse(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        self.listen.unlink(missing_ok=True)
        await self._cut()

    async def _hang(self) -> None:
        self._flows.clear()

    async def _half_close(self) -> None:
        for pair in tuple(self._pairs):
            if not pair.half_closed:
                pair.half_closed = True
                with contextlib.suppress(OSError):
                    pair.client.write_eof()

    async def _accept(self, client_reads: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        await self._flows.wait()
        try:
            server_reads, server = await asyncio.open_unix_connection(str(self.behind))
        except OSError:
            client.transport.abort()
            return
        pair = _Pair(client, server)
        self._pairs.add(pair)
        try:
            await asyncio.gather(self._pass(client_reads, server, pair), self._pass(server_reads, client, pair))
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._pairs.discard(pair)
            pair.abort()

    async def _pass(self, reads: asyncio.StreamReader, writes: asyncio.StreamWriter, pair: _Pair) -> None:
        while piece := await reads.read(_PIECE):
            if self._delay:
                await asyncio.sleep(self._delay)
            if self._bytes_a_second:
                await asyncio.sleep(len(piece) / self._bytes_a_second)
            await self._flows.wait()
            if writes is pair.client and (pair.half_closed or pair.swallowed):
                continue  # drop the server's further answers
            if writes is pair.server and self._unanswered and self._unanswered in piece:
                pair.swallowed = True
            writes.write(piece)
            await writes.drain()
        if not writes.is_closing() and not (writes is pair.client and pair.half_closed):
            writes.write_eof()

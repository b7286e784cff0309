"""The HTTP server: uvicorn on the loop's own thread, with a way to leave a socket that other processes serve.

uvicorn closes all idle connections when it stops, also those that it accepted a moment ago and whose first request is
on its way. Therefore a process leaves first: it accepts no connections, and answers until it expects no more requests.
"""

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, cast

import uvicorn

from annals.http.connection import Bounds, HttpConfig, HttpConnection, Rejection, RejectionAnswer

BOUNDS = Bounds()
CUT_OFF_SECONDS = 0.2
"""Seconds that the server may still take after the time for running requests. The supervisor kills it soon after."""

_LOOK_SECONDS = 0.05


class QuietPeriods(NamedTuple):
    """Seconds that a leaving process waits for requests on its open connections."""

    first: float = 2.0
    """For the first request of a connection, whose client may be busy."""
    silent: float = 1.0
    """For the next request. A client that called within this time may call again, and learns then that the server
    closes."""


QUIET_PERIODS = QuietPeriods()


class NotStarted(Exception):
    """The application did not start. The log has the reason."""


class HttpServer(uvicorn.Server):
    """Serves an application on a listening socket, which is this process's own copy."""

    def __init__(
        self,
        app: Any,
        listening: socket.socket,
        reject: Callable[[Rejection], RejectionAnswer],
        bounds: Bounds = BOUNDS,
    ) -> None:
        super().__init__(HttpConfig(app, reject, bounds))
        self._listening = listening
        self._stop_requested = asyncio.Event()

    async def run_until_stopped(self) -> None:
        """Serve until `stop` is called and the running requests have ended or run out of time. Raises NotStarted."""
        try:
            await self.serve([self._listening])
        except SystemExit:  # uvicorn reports it so, which would end the event loop of the caller
            raise NotStarted("The HTTP server did not start.") from None

    async def leave(self, *, seconds: float, quiet_periods: QuietPeriods = QUIET_PERIODS) -> None:
        """Accept no more connections. Return once all requests are answered and no more are expected, or the time is
        over."""
        for server in self.servers:
            server.close()
        deadline = time.monotonic() + seconds
        while self._expects(quiet_periods) and time.monotonic() < deadline:  # noqa: ASYNC110 - silence raises no event
            await asyncio.sleep(_LOOK_SECONDS)

    def stop(self, *, seconds: float) -> None:
        """Stop. Running requests have the given seconds to end."""
        self.config.timeout_graceful_shutdown = cast(int, max(CUT_OFF_SECONDS, seconds))
        self.should_exit = True
        self._stop_requested.set()

    def _expects(self, quiet_periods: QuietPeriods) -> bool:
        connections = cast("set[HttpConnection]", self.server_state.connections)
        return any(one.expects(first=quiet_periods.first, silent=quiet_periods.silent) for one in connections)

    async def main_loop(self) -> None:
        while not await self.on_tick(0):  # updates the date of answers
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await self._stop_requested.wait()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """The process handles signals itself."""
        yield

"""The HTTP server of an API process: uvicorn, on the loop's own thread, and a way to leave a socket that others serve.

Asked to stop, it closes each connection on which it is not just working: also one that it accepted a moment ago and
whose first request is on its way. So it leaves first: it accepts no more, and answers until nothing is to be expected.
"""

import asyncio
import contextlib
import socket
import time
from collections.abc import Iterator
from typing import Any, NamedTuple, cast

import uvicorn

from annals.app.server.connection import HttpConnection

KEPT_SECONDS = 75
"""How long a connection may be silent between two requests; a second more than most clients keep one."""

CUT_OFF_SECONDS = 0.2
"""How long the server may still take once the time of requests in flight is over; the supervisor kills soon after."""

_LOOK_SECONDS = 0.05


class QuietPeriods(NamedTuple):
    """How long a process that leaves waits for what its connections may still bring, in seconds."""

    first: float = 2.0
    """For the first request of a connection: the client's own machine may be busy."""
    silent: float = 1.0
    """For the next one: who called within this time may call again at once, and is told then that it closes."""


QUIET_PERIODS = QuietPeriods()


class NotStarted(Exception):
    """The application did not get ready; it knows why."""


class HttpServer(uvicorn.Server):
    """Serves an application on a listening socket, which is this process's own copy of it."""

    def __init__(self, app: Any, listening: socket.socket) -> None:
        config = uvicorn.Config(
            app,
            http=HttpConnection,
            ws="none",
            loop="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=KEPT_SECONDS,
        )
        super().__init__(config)
        self._listening = listening
        self._asked = asyncio.Event()

    async def run_until_stopped(self) -> None:
        """Serve until `stop` was called and what runs has ended, or its time is over. Raises NotStarted."""
        try:
            await self.serve([self._listening])
        except SystemExit:  # how uvicorn says it, which would end the loop under whoever waits
            raise NotStarted("The HTTP server did not start.") from None

    async def leave(self, *, seconds: float, quiet_periods: QuietPeriods = QUIET_PERIODS) -> None:
        """Accept no more, and return once every caller was answered and no more is to be expected, or time is over."""
        for server in self.servers:
            server.close()
        deadline = time.monotonic() + seconds
        while self._expects(quiet_periods) and time.monotonic() < deadline:  # noqa: ASYNC110 - silence tells nobody
            await asyncio.sleep(_LOOK_SECONDS)

    def stop(self, *, seconds: float) -> None:
        """End, with what runs: it has so many seconds."""
        self.config.timeout_graceful_shutdown = cast(int, max(CUT_OFF_SECONDS, seconds))
        self.should_exit = True
        self._asked.set()

    def _expects(self, quiet_periods: QuietPeriods) -> bool:
        connections = cast("set[HttpConnection]", self.server_state.connections)
        return any(one.expects(first=quiet_periods.first, silent=quiet_periods.silent) for one in connections)

    async def main_loop(self) -> None:
        while not await self.on_tick(0):  # the date of answers
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await self._asked.wait()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are the process's own business."""
        yield

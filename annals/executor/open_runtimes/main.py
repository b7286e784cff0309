"""The executor for other control planes: the Open Runtimes HTTP API over this host's driver."""

import asyncio

import msgspec
from litestar.di import Provide

from annals.executor.config import ExecutorConfig, OpenRuntimesConfig
from annals.executor.drivers.port import Driver
from annals.executor.isolation.trash import Trash
from annals.executor.open_runtimes.errors import rejection_answer
from annals.executor.open_runtimes.routes import BOUNDS, Bodies, RuntimeController, create_app, health
from annals.executor.open_runtimes.runtimes import Runtimes
from annals.http.http_server import HttpServer
from annals.http.listening import listen

FOLDER = "facade"
"""Its folder below the executor's work folder; nothing in it must survive."""


class OpenRuntimesServer:
    """A server with its own runtimes, on the executor's driver. `address` is its listening address."""

    def __init__(self, config: ExecutorConfig, open_runtimes: OpenRuntimesConfig, driver: Driver) -> None:
        self._open_runtimes = open_runtimes
        self._work = config.work / FOLDER
        own = msgspec.structs.replace(
            config, work=self._work, blobs_url=open_runtimes.storage, has_agent=True, idle_pool={}, open_runtimes=None
        )
        self._runtimes = Runtimes(own, driver)
        self._server: HttpServer | None = None
        self._serving: asyncio.Task[None] | None = None
        self.address = ("", 0)
        self._emptying: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Listen. Raises Unavailable."""
        self._work.mkdir(mode=0o711, exist_ok=True)
        (self._work / "code").mkdir(mode=0o711, exist_ok=True)
        self._emptying = asyncio.create_task(Trash(self._work).run(), name="open-runtimes-trash")
        self._runtimes.open()
        shared = {"runtimes": Provide(lambda: self._runtimes, sync_to_thread=False)}
        app = create_app([health, RuntimeController], self._open_runtimes.secret, Bodies(), shared)
        listening = listen(self._open_runtimes.host, self._open_runtimes.port, options="ANNALS_FACADE_LISTEN")
        self.address = listening.getsockname()[:2]
        self._server = HttpServer(app, listening, rejection_answer, BOUNDS)
        self._serving = asyncio.create_task(self._server.run_until_stopped(), name="open-runtimes")

    async def close(self) -> None:
        """Stop listening, and remove all runtimes. Requests are answered within a moment or not at all."""
        if self._server and self._serving:
            self._server.stop(seconds=0)
            await asyncio.wait((self._serving,))
        await self._runtimes.close()
        if self._emptying:
            self._emptying.cancel()

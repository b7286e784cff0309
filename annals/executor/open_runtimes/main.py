"""The executor for other control planes: the Open Runtimes HTTP API over this host's driver."""

import asyncio

import msgspec

from annals.executor.config import ExecutorConfig, OpenRuntimesConfig
from annals.executor.drivers.port import Driver
from annals.executor.isolation.trash import Trash
from annals.executor.open_runtimes.http1 import Server
from annals.executor.open_runtimes.routes import Routes
from annals.executor.open_runtimes.runtimes import Runtimes

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
        routes = Routes(self._runtimes, open_runtimes.secret)
        self._server = Server(routes.admit, routes.answer)
        self.address = ("", 0)
        self._emptying: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Listen. Raises OSError."""
        self._work.mkdir(mode=0o711, exist_ok=True)
        (self._work / "code").mkdir(mode=0o711, exist_ok=True)
        self._emptying = asyncio.create_task(Trash(self._work).run(), name="open-runtimes-trash")
        self._runtimes.open()
        self.address = await self._server.open(self._open_runtimes.host, self._open_runtimes.port)

    async def close(self) -> None:
        await self._server.close()
        await self._runtimes.close()
        if self._emptying:
            self._emptying.cancel()

"""Composes one executor from its configuration, and runs it until a signal stops it."""

import asyncio
import fcntl
import os
import signal
import socket
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import structlog

from annals.executor.builds.builder import Builder
from annals.executor.config import ExecutorConfig
from annals.executor.drivers.bubblewrap import UPGRADE, find
from annals.executor.drivers.docker import DockerDriver
from annals.executor.drivers.engine import engine_problem
from annals.executor.drivers.port import Driver
from annals.executor.drivers.sandbox import SandboxDriver
from annals.executor.errors import WorkFolderTaken
from annals.executor.isolation.trash import Trash
from annals.executor.logs.spool import Spools
from annals.executor.pool.code import CodeCache
from annals.executor.pool.pool import Pool
from annals.executor.pool.runner import Runner
from annals.executor.wire.protocol import Status
from annals.executor.wire.server import ExecutorServer
from annals.store.content.blobs import Blobs

if TYPE_CHECKING:  # most executors serve no other control plane, and never import Litestar
    from annals.executor.open_runtimes.main import OpenRuntimesServer

log = structlog.get_logger()

STOP_SECONDS = 5.0


class ExecutorProcess:
    """A running executor; `address` is where it listens. Its configuration decides whether `facade` is used."""

    def __init__(
        self, config: ExecutorConfig, driver: Driver, facade: "type[OpenRuntimesServer] | None" = None
    ) -> None:
        self._config = config
        self._host = socket.gethostname()
        self._driver = driver
        blobs = Blobs.open(config.blobs_url)
        code = CodeCache(config.work / "code", blobs, config.code_cache_bytes)
        self._pool = Pool(config, self._driver, code)
        self._builder = Builder(config, self._driver, code, blobs)
        runner = Runner(config, self._pool, self._host, Spools(blobs, config.work, config.log_limit_bytes))
        self._server = ExecutorServer(
            config, runner=runner, builder=self._builder, pool=self._pool, status=self._describe
        )
        self.address = ""
        self.open_runtimes = facade(config, config.open_runtimes, driver) if facade and config.open_runtimes else None
        self._lock = -1
        self._emptying: asyncio.Task[None] | None = None

    @classmethod
    async def start(cls, config: ExecutorConfig, facade: "type[OpenRuntimesServer] | None" = None) -> Self:
        """Return an executor that listens, with the configured driver."""
        executor = cls(config, await choose(config), facade)
        await executor.open()
        return executor

    async def open(self) -> None:
        """Move leftovers of an earlier process to the trash, open the driver, and listen."""
        self._lock = await asyncio.to_thread(_claim, self._config.work)
        await asyncio.to_thread(_clean, self._config.work)
        self._emptying = asyncio.create_task(Trash(self._config.work).run(), name="trash")
        await self._driver.open()
        await warn_about_isolation(self._driver, self._config)
        self._pool.open()
        self._builder.open()
        self.address = await self._server.open()
        if self.open_runtimes:
            await self.open_runtimes.open()
            log.info("executor.open_runtimes", address=self.open_runtimes.address)
        log.info("executor.ready", driver=self._driver.name, address=self.address, limits=self._driver.enforced())

    async def close(self) -> None:
        """Stop listening, and end all running work within a few seconds."""
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await self._server.close()
                if self.open_runtimes:
                    await self.open_runtimes.close()
                await self._pool.close()
                await self._builder.close()
        except TimeoutError:
            log.warning("executor.slow_stop")
        if self._emptying:
            self._emptying.cancel()
        await self._driver.close()
        os.close(self._lock)

    async def _describe(self, work: dict[str, int]) -> Status:
        return Status(
            driver=self._driver.name,
            host=self._host,
            runtimes=await self._driver.served(),
            limits=self._driver.enforced(),
            work=work,
        )


def _claim(work: Path) -> int:
    """Lock the work folder; return the descriptor that holds the lock. Raises WorkFolderTaken."""
    work.mkdir(parents=True, exist_ok=True)
    fd = os.open(work / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise WorkFolderTaken(f"Another executor uses {work}: stop it, or give this one a folder of its own.") from None
    return fd


def _clean(work: Path) -> None:
    """Move leftovers of an earlier process to the trash, which is emptied later.

    Nothing in the work folder must survive. Sandboxed users pass through it, so every user may enter it.
    """
    os.umask(0o022)
    trash = Trash(work)
    for leftover in ("i", "b", "code", "etc", "facade"):
        trash.put(work / leftover)
    work.chmod(0o711)
    (work / "code").mkdir(mode=0o711, exist_ok=True)


async def choose(config: ExecutorConfig) -> Driver:
    """Return the configured driver. `auto` selects docker if a container engine answers and has images."""
    if config.driver == "docker":
        return DockerDriver(config)
    if config.driver == "auto" and await asyncio.to_thread(engine_problem, config) == "":
        return DockerDriver(config)
    return SandboxDriver(config)


async def warn_about_isolation(driver: Driver, config: ExecutorConfig) -> None:
    """Log at the start how isolation is incomplete on this host, instead of only in the first build's log."""
    if not isinstance(driver, SandboxDriver):
        return
    program = await asyncio.to_thread(find, config.bwrap)
    if not program.safe:
        log.warning("bubblewrap_has_a_known_hole", program=str(program), fix=UPGRADE)
    if problem := await driver.problem():
        log.warning("sandboxes_cannot_start", problem=problem, fix="`annals doctor` says what to change on this host")


async def serve(
    config: ExecutorConfig,
    *,
    facade: "type[OpenRuntimesServer] | None" = None,
    meanwhile: Callable[[], Coroutine[Any, Any, None]] | None = None,
) -> None:
    """Run an executor until SIGTERM or SIGINT. `meanwhile` starts when it listens, and is cancelled at the end."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    executor = await ExecutorProcess.start(config, facade)
    beside = asyncio.ensure_future(meanwhile()) if meanwhile else None
    try:
        await stop.wait()
    finally:
        if beside:
            beside.cancel()
        await executor.close()
        log.info("executor.stopped")

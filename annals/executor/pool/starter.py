"""Brings instances up: from the reserve where one fits, else from nothing."""

import asyncio
from pathlib import Path

import structlog

from annals.domain.ports import Run
from annals.executor.config import ExecutorConfig
from annals.executor.drivers.port import Driver
from annals.executor.errors import StartFailed, Unsuited
from annals.executor.pool.code import CodeCache
from annals.executor.pool.http1 import Broken, TooLarge
from annals.executor.pool.idle_pool import Reserve
from annals.executor.pool.instance import Instance

log = structlog.get_logger()

START_SECONDS = 120.0
SPECIALISE_SECONDS = 5.0


class Starter:
    """Starts instances with their code at hand, which they hold until `end`."""

    def __init__(self, config: ExecutorConfig, driver: Driver, code: CodeCache) -> None:
        self._driver = driver
        self._code = code
        self._body_limit = config.response_limit_bytes
        self._has_agent = config.has_agent
        self._folder = config.work / "i"
        self.reserve = Reserve(config, driver, self._folder)

    def open(self) -> None:
        self._folder.mkdir(mode=0o755, exist_ok=True)
        self.reserve.open()

    async def close(self) -> None:
        await self.reserve.close()

    async def start(self, run: Run) -> Instance:
        """An instance that serves a run's deployment and environment.

        Raises StartFailed, RuntimeUnavailable, CodeMissing, BadArchive, BlobError or OSError.
        """
        self.reserve.expect(run.runtime)
        folder = await self._code.take(run.artefact)
        try:
            instance = await self._specialised(run, folder) or await self._afresh(run, folder)
        except BaseException:
            self._code.release(run.artefact.digest)
            raise
        instance.digest = run.artefact.digest
        return instance

    async def end(self, instance: Instance) -> None:
        """Kill one and let go of its code."""
        await instance.stop()
        self._code.release(instance.digest)

    async def _afresh(self, run: Run, folder: Path) -> Instance:
        instance = Instance(self._folder, self._body_limit, has_agent=self._has_agent)
        try:
            await instance.start(self._driver, run, folder, START_SECONDS)
        except BaseException:
            await instance.stop()
            raise
        return instance

    async def _specialised(self, run: Run, folder: Path) -> Instance | None:
        """An idle instance made this run's; None where there is none that could be."""
        instance = self.reserve.take(run)
        if instance is None:
            return None
        self.reserve.expect(run.runtime)
        try:
            async with asyncio.timeout(SPECIALISE_SECONDS):
                await instance.specialise(run, folder)
        except Unsuited:
            self.reserve.give_back(run.runtime, instance)
            return None
        except (StartFailed, Broken, TooLarge, OSError) as failure:
            log.info("instance.not_specialised", runtime=run.runtime, message=str(failure)[:500])
            await instance.stop()
            return None
        except BaseException:
            await instance.stop()
            raise
        return instance

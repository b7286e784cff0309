"""Starts instances: takes one from the idle pool if one fits, otherwise starts a new one."""

import asyncio
from pathlib import Path

import structlog

from annals.domain.ports import Run
from annals.executor.config import ExecutorConfig
from annals.executor.drivers.port import Driver
from annals.executor.errors import StartFailed, Unsuited
from annals.executor.pool.code import CodeCache
from annals.executor.pool.http_client import ConnectionBroken, ResponseTooLarge
from annals.executor.pool.idle_pool import IdlePool
from annals.executor.pool.instance import Instance

log = structlog.get_logger()

START_SECONDS = 120.0
SPECIALISE_SECONDS = 5.0


class Starter:
    """Starts instances with their code, which stays in the cache until `end`."""

    def __init__(self, config: ExecutorConfig, driver: Driver, code: CodeCache) -> None:
        self._driver = driver
        self._code = code
        self._body_limit = config.response_limit_bytes
        self._has_agent = config.has_agent
        self._folder = config.work / "i"
        self.idle_pool = IdlePool(config, driver, self._folder)

    def open(self) -> None:
        self._folder.mkdir(mode=0o755, exist_ok=True)
        self.idle_pool.open()

    async def close(self) -> None:
        await self.idle_pool.close()

    async def start(self, run: Run) -> Instance:
        """Return a new instance for a run's deployment and environment.

        Raises StartFailed, RuntimeUnavailable, CodeMissing, BadArchive, BlobError or OSError.
        """
        self.idle_pool.expect(run.runtime)
        folder = await self._code.take(run.artefact)
        try:
            instance = await self._specialised(run, folder) or await self._new(run, folder)
        except BaseException:
            self._code.release(run.artefact.digest)
            raise
        instance.digest = run.artefact.digest
        return instance

    async def end(self, instance: Instance) -> None:
        """Kill an instance and release its code."""
        await instance.stop()
        self._code.release(instance.digest)

    async def _new(self, run: Run, folder: Path) -> Instance:
        instance = Instance(self._folder, self._body_limit, has_agent=self._has_agent)
        try:
            await instance.start(self._driver, run, folder, START_SECONDS)
        except BaseException:
            await instance.stop()
            raise
        return instance

    async def _specialised(self, run: Run, folder: Path) -> Instance | None:
        """Specialise an idle instance for this run; return None if there is none that fits."""
        instance = self.idle_pool.take(run)
        if instance is None:
            return None
        self.idle_pool.expect(run.runtime)
        try:
            async with asyncio.timeout(SPECIALISE_SECONDS):
                await instance.specialise(run, folder)
        except Unsuited:
            self.idle_pool.give_back(run.runtime, instance)
            return None
        except (StartFailed, ConnectionBroken, ResponseTooLarge, OSError) as failure:
            log.info("instance.not_specialised", runtime=run.runtime, message=str(failure)[:500])
            await instance.stop()
            return None
        except BaseException:
            await instance.stop()
            raise
        return instance

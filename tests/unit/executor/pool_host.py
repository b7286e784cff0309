"""A pool and its runner on a fake driver, for tests of how calls get instances."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import pytest

from annals.domain.ports import Outcome
from annals.executor.config import ExecutorConfig
from annals.executor.logs.spool import Spools
from annals.executor.pool.pool import Pool
from annals.executor.pool.runner import Runner
from annals.store.content.blobs import Blobs
from tests.unit.executor.drivers import FakeCode, FakeDriver, hello, run


class Host:
    """A pool and runner on a fake driver."""

    def __init__(self, folder: Path) -> None:
        self.driver = FakeDriver()
        self.code = FakeCode(folder)
        self.config = ExecutorConfig(
            data=folder, work=folder, blobs_url="", listen="unix:/none", idle_seconds=60, grace_seconds=0.2, instances=4
        )
        self.spools = Spools(Blobs.open(folder / "blobs"), folder, self.config.log_limit_bytes)
        self.pool = Pool(self.config, self.driver, self.code)  # type: ignore[arg-type]
        self.runner = Runner(self.config, self.pool, "host", self.spools)

    async def remake(self, **changes: object) -> None:
        """The same host with another configuration."""
        await self.pool.close()
        self.config = msgspec.structs.replace(self.config, **changes)
        self.pool = Pool(self.config, self.driver, self.code)  # type: ignore[arg-type]
        self.runner = Runner(self.config, self.pool, "host", self.spools)
        self.pool.open()

    async def call(self, **changes: object) -> Outcome:
        async with asyncio.timeout(60):
            return await self.runner.execute(run(**changes))


@pytest.fixture
async def host() -> AsyncIterator[Host]:
    with TemporaryDirectory(prefix="pl-", dir="/tmp") as folder:
        made = Host(Path(folder))
        made.pool.open()
        yield made
        await made.pool.close()
        assert made.code.users == 0


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.01)


class WorkerLimiter:
    """Answers only when told; counts those that wait."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.waiting = 0

    async def answer(self, head: bytes) -> bytes:
        self.waiting += 1
        await self.go.wait()
        self.waiting -= 1
        return await hello(head)

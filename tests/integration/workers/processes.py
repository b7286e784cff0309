"""Workers and keepers as the CLI runs them, several in one process, with an executor of the tests' own."""

import asyncio
from pathlib import Path

from annals.settings import Settings
from annals.workers.keeper_process import serve_keeper
from annals.workers.worker_process import serve_worker
from tests.integration.workers.executor import FakeExecutor
from tests.integration.workers.world import MASTER


def settings(database_url: str, redis_url: str, folder: Path, **others: int) -> Settings:
    (folder / "master.key").write_bytes(MASTER)
    return Settings(
        data=folder,
        database_url=database_url,
        redis_url=redis_url,
        blobs_url=f"file://{folder / 'blobs'}",
        **others,  # type: ignore[arg-type]
    )


class Served:
    """One serving process; `doing` is its last status text."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.doing = ""
        self._task: asyncio.Task[None] | None = None

    def keeper(self, settings: Settings) -> "Served":
        self._task = asyncio.create_task(serve_keeper(settings, stopping=self.asked, tell=self._tell))
        return self

    def worker(self, settings: Settings, executor: FakeExecutor) -> "Served":
        self._task = asyncio.create_task(serve_worker(settings, executor, stopping=self.asked, tell=self._tell))
        return self

    async def end(self) -> None:
        """Ask the process to end, and wait until it has."""
        self.asked.set()
        assert self._task is not None
        await self._task

    async def die(self) -> None:
        """End the process without cleanup, as nearly as a task can."""
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    def _tell(self, doing: str) -> None:
        self.doing = doing

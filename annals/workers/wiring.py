"""The parts that workers and keepers share, made from settings."""

import asyncio
import contextlib
from collections.abc import Callable
from datetime import timedelta

from annals.application.process import Process
from annals.settings import Settings
from annals.workers.cleanup import BlobGarbage, RetentionSweeper

CONNECTIONS = 12
"""The most connections of a worker's or keeper's pool."""

Tell = Callable[[str], None]
"""Gets the text of `doing`, first when the process is ready, then every second."""


def retention(settings: Settings, process: Process) -> RetentionSweeper:
    return RetentionSweeper(process.log, execution_days=settings.execution_retention_days)


def blob_garbage(settings: Settings, process: Process) -> BlobGarbage:
    return BlobGarbage(process.database, process.contents, grace=timedelta(hours=1, seconds=settings.build_timeout_s))


async def until(stopping: asyncio.Event, tell: Tell, doing: Callable[[], str]) -> None:
    """Return once the process is `stopping`, and `tell` what it does each second until then."""
    while not stopping.is_set():
        tell(doing())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1.0):
                await stopping.wait()

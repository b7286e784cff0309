"""The parts that workers and keepers share: opened in order, closed in reverse."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta

import msgspec

from annals.application.event_log import open_log
from annals.application.executions.context import Environments
from annals.domain.environment import InstanceInfo
from annals.domain.version import API_VERSION
from annals.settings import Settings
from annals.store.content.blobs import Blobs
from annals.store.content.contents import Contents
from annals.store.coordination.leases import NO_BUILDS, BuildSlots, Leases, ProcessLease
from annals.store.log.log import EventLog
from annals.store.postgres.database import Database
from annals.store.secrets.vault import Vault, forgetting_deleted_keys
from annals.workers.blob_garbage import BlobGarbage
from annals.workers.retention import RetentionSweeper

Tell = Callable[[str], None]
"""Gets the text of `doing`, first when the process is ready, then every second."""


class Process(msgspec.Struct, frozen=True, kw_only=True):
    """The parts of one process."""

    database: Database
    log: EventLog
    contents: Contents
    vault: Vault
    environments: Environments
    process_lease: ProcessLease


@asynccontextmanager
async def opened(
    settings: Settings, role: str, doing: Callable[[], str], builds: BuildSlots = NO_BUILDS
) -> AsyncIterator[Process]:
    """Open a process over a migrated database; its lease shows the text of `doing` and its slots for `builds`."""
    async with contextlib.AsyncExitStack() as stack:
        database = await Database.open(settings.database_url, size=12, name=f"annals {role}")
        stack.push_async_callback(database.close)
        contents = Contents(database, Blobs.open(settings.blobs))
        log = await open_log(database, contents)
        stack.push_async_callback(log.close)
        vault = await Vault.of(database, settings.master_key)
        platform = InstanceInfo(endpoint=settings.endpoint, version=API_VERSION, region=settings.region)
        environments = Environments(database, vault, platform)
        await stack.enter_async_context(forgetting_deleted_keys(database, vault, environments))
        process_lease = ProcessLease(Leases(database), role, lease_seconds=settings.lease_s, doing=doing, builds=builds)
        await process_lease.enter()
        stack.push_async_callback(process_lease.leave)
        beating = asyncio.create_task(process_lease.run())
        stack.callback(beating.cancel)
        yield Process(
            database=database,
            log=log,
            contents=contents,
            vault=vault,
            environments=environments,
            process_lease=process_lease,
        )


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

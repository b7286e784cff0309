"""The composition root of workers and keepers: what a process works with, opened in order, closed in reverse."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import msgspec

from annals.application.event_log import open_log
from annals.application.executions.context import Environments
from annals.domain.environment import Platform
from annals.domain.version import API_VERSION
from annals.settings import Settings
from annals.store.content.blobs import Blobs
from annals.store.content.contents import Contents
from annals.store.coordination.leases import NO_BUILDS, BuildSlots, Leases
from annals.store.coordination.process_lease import ProcessLease
from annals.store.log.log import EventLog
from annals.store.postgres.database import Database
from annals.store.secrets.vault import Vault, forgetting_deleted_keys


class Process(msgspec.Struct, frozen=True, kw_only=True):
    """What one process shares."""

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
    """Open a process over a migrated database; `doing` says what its lease shows, `builds` what it holds."""
    async with contextlib.AsyncExitStack() as stack:
        database = await Database.open(settings.database_url, size=12, name=f"annals {role}")
        stack.push_async_callback(database.close)
        contents = Contents(database, Blobs.open(settings.blobs))
        log = await open_log(database, contents)
        stack.push_async_callback(log.close)
        vault = await Vault.of(database, settings.master_key)
        platform = Platform(endpoint=settings.endpoint, version=API_VERSION, region=settings.region)
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

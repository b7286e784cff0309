"""The parts that every API, worker and keeper process opens from its settings, in order, and closes in reverse."""

import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

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


class Process(msgspec.Struct, frozen=True, kw_only=True):
    """The common parts of one process."""

    database: Database
    log: EventLog
    contents: Contents
    vault: Vault
    environments: Environments
    process_lease: ProcessLease


@asynccontextmanager
async def open_process(
    settings: Settings,
    role: str,
    *,
    connections: int = 8,
    retry_seconds: float = 3.0,
    statement_seconds: int = 0,
    doing: Callable[[], str] = lambda: "",
    builds: BuildSlots = NO_BUILDS,
) -> AsyncIterator[Process]:
    """Open a process over a migrated database. Its lease shows the text of `doing` and its slots for `builds`.

    `connections`, `retry_seconds` and `statement_seconds` are those of its pool. Raises StoreUnavailable and
    MasterKeyWrong.
    """
    async with contextlib.AsyncExitStack() as stack:
        database = await Database.open(
            settings.database_url,
            size=connections,
            name=f"annals {role}",
            retry_seconds=retry_seconds,
            statement_seconds=statement_seconds,
        )
        stack.push_async_callback(database.close)
        contents = Contents(database, Blobs.open(settings.blobs))
        log = await open_log(database, contents)
        stack.push_async_callback(log.close)
        vault = await Vault.of(database, settings.master_key)
        platform = InstanceInfo(endpoint=settings.functions_endpoint, version=API_VERSION, region=settings.region)
        environments = Environments(database, vault, platform)
        await stack.enter_async_context(forgetting_deleted_keys(database, vault, environments))
        lease = ProcessLease(Leases(database), role, lease_seconds=settings.lease_s, doing=doing, builds=builds)
        await stack.enter_async_context(lease.held())
        yield Process(
            database=database, log=log, contents=contents, vault=vault, environments=environments, process_lease=lease
        )

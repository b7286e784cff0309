"""The API's composition root: opens the dependencies of a process in order and closes them in reverse."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing, asynccontextmanager, closing
from typing import Any, Protocol

from annals.addresses import parse_name_servers
from annals.app.available_runtimes import Available
from annals.app.health.conservation import Conservation
from annals.app.history.presenting import Presenter
from annals.app.identity.passwords import Passwords
from annals.app.proxy.dns import Resolver, system_servers
from annals.app.reads import BatchedReads
from annals.app.services import Services, offered
from annals.application.event_log import open_log
from annals.application.executions.accept import Accepting
from annals.application.executions.context import Environments
from annals.application.executions.record_outcome import DeferredOutcomes
from annals.capacity.fair_queue import FairQueue
from annals.capacity.limiter import CallLimiter
from annals.capacity.shared_memory import Backpressure, TenantActivity
from annals.capacity.slots import ConcurrencySlots
from annals.domain.environment import InstanceInfo
from annals.domain.ports import Executor
from annals.domain.version import API_VERSION
from annals.executor.config import Tls
from annals.executor.wire.client import ExecutorClient
from annals.settings import Settings
from annals.store.content.blobs import Blobs
from annals.store.content.contents import Contents
from annals.store.content.digest_checks import BlobReader
from annals.store.coordination.direct_dispatch import DirectDispatcher, socket_prefix
from annals.store.coordination.idempotency import Idempotency
from annals.store.coordination.leases import Leases, ProcessLease
from annals.store.log.append_modes import FREED_SLOTS
from annals.store.log.archives import Archives
from annals.store.postgres.database import Database
from annals.store.postgres.listener import OnDemand
from annals.store.proof.proofs import Proofs
from annals.store.secrets.tokens import EPHEMERAL_KEYS, USER_TOKENS
from annals.store.secrets.vault import Vault, forgetting_deleted_keys
from annals.telemetry.metrics import Metrics
from annals.vcs.client import Repositories
from annals.vcs.jobs import FetchBounds
from annals.vcs.locating import Locator


class RemoteExecutor(Executor, Protocol):
    """An executor that also reports its status by address. A sentence takes the place of an executor that does not
    answer."""

    async def status(self) -> Mapping[str, Any]: ...


STATEMENT_SECONDS = 15
"""Seconds that one query of a client may run in Postgres."""


@asynccontextmanager
async def open_executor(settings: Settings) -> AsyncIterator[ExecutorClient]:
    """Open the client of the executors. It connects when a connection is needed."""
    files = (settings.tls_certificate_file, settings.tls_key_file, settings.tls_authority_file)
    tls = Tls(certificate=files[0], key=files[1], authority=files[2]) if all(files) else None
    client = ExecutorClient(settings.executor_urls, tls, silence_seconds=settings.lease_s)
    try:
        yield client
    finally:
        await client.close()


@asynccontextmanager
async def open_services(settings: Settings, executor: RemoteExecutor, metrics: Metrics) -> AsyncIterator[Services]:
    """Open the dependencies of the edge over a migrated database. The caller keeps ownership of `executor`."""
    async with contextlib.AsyncExitStack() as stack:
        database = await _database(settings)
        stack.push_async_callback(database.close)
        blobs = Blobs.open(settings.blobs)
        contents = Contents(database, blobs)
        log = await open_log(database, contents)
        stack.push_async_callback(log.close)
        vault = await Vault.of(database, settings.master_key)
        process_lease = await stack.enter_async_context(_present(database, settings))
        dispatcher = stack.enter_context(closing(DirectDispatcher(socket_prefix(settings.executor_urls))))
        runtimes, specifications = offered(settings)
        pressure = Backpressure.open(settings.executor_urls)
        fair_queue = FairQueue(TenantActivity.open(settings.executor_urls))
        platform = InstanceInfo(endpoint=settings.endpoint, version=API_VERSION, region=settings.region)
        environments = Environments(database, vault, platform)
        await stack.enter_async_context(forgetting_deleted_keys(database, vault, environments))
        yield Services(
            settings=settings,
            database=database,
            reads=BatchedReads(database),
            log=log,
            listening=OnDemand(database),
            vault=vault,
            passwords=Passwords(vault),
            blobs=blobs,
            checked=BlobReader(blobs),
            proofs=Proofs(database, Archives(database, blobs)),
            executor=executor,
            executor_status=executor.status,
            available=Available(executor.status),
            environments=environments,
            idempotency=await stack.enter_async_context(aclosing(Idempotency(database, contents, vault))),
            locator=Locator(log, vault, settings.git_remotes),
            repositories=Repositories(allowed_hosts=settings.git_allowed_hosts, bounds=FetchBounds()),
            call_limiter=_call_limiter(settings),
            concurrency_slots=ConcurrencySlots(OnDemand(database, FREED_SLOTS)),
            accepting=Accepting(pressure, dispatcher, lambda: fair_queue.waiting),
            fair_queue=fair_queue,
            deferred=await stack.enter_async_context(aclosing(DeferredOutcomes())),
            holder=lambda: process_lease.id,
            signing_secret=_signing(vault, EPHEMERAL_KEYS),
            token_secret=_signing(vault, USER_TOKENS),
            text_records=Resolver(parse_name_servers(settings.dns_servers) or system_servers()),
            metrics=metrics,
            conservation=Conservation(database).text,
            present_unrecorded=Presenter(database).unrecorded,
            runtimes=runtimes,
            specifications=specifications,
        )


def _call_limiter(settings: Settings) -> CallLimiter:
    most = settings.sync_executions
    return CallLimiter(most=most, most_of_project=settings.share_of(most), queue=settings.sync_queue)


async def _database(settings: Settings) -> Database:
    retry_seconds = float(settings.database_patience_s)
    url = settings.database_url
    return await Database.open(url, name="annals api", retry_seconds=retry_seconds, statement_seconds=STATEMENT_SECONDS)


@asynccontextmanager
async def _present(database: Database, settings: Settings) -> AsyncIterator[ProcessLease]:
    """Hold this process's lease. Other processes take over its executions once the lease stops being renewed."""
    process_lease = ProcessLease(Leases(database), "api", lease_seconds=settings.lease_s)
    await process_lease.enter()
    beating = asyncio.create_task(process_lease.run())
    try:
        yield process_lease
    finally:
        beating.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await beating
        await process_lease.leave()


def _signing(vault: Vault, purpose: str) -> Callable[[str], Awaitable[bytes]]:
    async def signing_secret(project_id: str) -> bytes:
        return await vault.derive(project_id, purpose)

    return signing_secret

"""The API's composition root: opens the dependencies of a process in order and closes them in reverse."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from functools import partial

from annals.app.available_runtimes import Available
from annals.app.health.conservation import Conservation
from annals.app.history.presenting import Presenter
from annals.app.identity.passwords import Passwords
from annals.app.proxy.dns import Resolver
from annals.app.reads import BatchedReads
from annals.app.services import RemoteExecutor, Services, offered
from annals.application.executions.accept import Accepting
from annals.application.executions.record_outcome import DeferredOutcomes
from annals.application.process import open_process
from annals.capacity.fair_queue import FairQueue
from annals.capacity.limiter import CallLimiter
from annals.capacity.shared_memory import TenantActivity
from annals.capacity.slots import ConcurrencySlots
from annals.settings import Settings
from annals.store.content.digest_checks import BlobReader
from annals.store.coordination.idempotency import Idempotency
from annals.store.log.append_modes import FREED_SLOTS
from annals.store.postgres.listener import OnDemand
from annals.store.proof.proofs import Proofs
from annals.store.secrets.tokens import EPHEMERAL_KEYS, USER_TOKENS
from annals.telemetry.metrics import Metrics
from annals.vcs.client import Repositories
from annals.vcs.jobs import FetchBounds
from annals.vcs.locating import Locator

STATEMENT_SECONDS = 15
"""Seconds that one query of a client may run in Postgres."""


@asynccontextmanager
async def open_services(settings: Settings, executor: RemoteExecutor, metrics: Metrics) -> AsyncIterator[Services]:
    """Open the dependencies of the edge over a migrated database. The caller keeps ownership of `executor`."""
    async with AsyncExitStack() as stack:
        opening = open_process(
            settings, "api", retry_seconds=float(settings.database_patience_s), statement_seconds=STATEMENT_SECONDS
        )
        process = await stack.enter_async_context(opening)
        database, vault, blobs = process.database, process.vault, process.contents.blobs
        fair_queue = FairQueue(TenantActivity.open(settings.executor_urls))
        runtimes, specifications = offered(settings)
        most = settings.sync_executions
        yield Services(
            settings=settings,
            database=database,
            reads=BatchedReads(database),
            log=process.log,
            listening=OnDemand(database),
            vault=vault,
            passwords=Passwords(vault),
            blobs=blobs,
            checked=BlobReader(blobs),
            proofs=Proofs(database, blobs),
            executor=executor,
            available=Available(executor.status),
            environments=process.environments,
            idempotency=await stack.enter_async_context(aclosing(Idempotency(database, process.contents, vault))),
            locator=Locator(process.log, vault, settings.git_remotes),
            repositories=Repositories(allowed_hosts=settings.git_allowed_hosts, bounds=FetchBounds()),
            call_limiter=CallLimiter(most=most, most_of_project=settings.share_of(most), queue=settings.sync_queue),
            concurrency_slots=ConcurrencySlots(OnDemand(database, FREED_SLOTS)),
            accepting=stack.enter_context(Accepting.opened(settings.executor_urls, lambda: fair_queue.waiting)),
            fair_queue=fair_queue,
            deferred=await stack.enter_async_context(aclosing(DeferredOutcomes())),
            holder=lambda: process.process_lease.id,
            signing_secret=partial(vault.derive, purpose=EPHEMERAL_KEYS),
            token_secret=partial(vault.derive, purpose=USER_TOKENS),
            text_records=Resolver.configured(settings.dns_servers),
            metrics=metrics,
            conservation=Conservation(database).text,
            present_unrecorded=Presenter(database).unrecorded,
            runtimes=runtimes,
            specifications=specifications,
        )

"""The dependencies of request handlers. The composition root fills them in once per process."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from annals.app.caches import ByteCache
from annals.app.catalogue.available import Available
from annals.app.health.conservation import Conservation
from annals.app.identity.known_credentials import FailedKeys, KnownCredentials
from annals.app.identity.passwords import Passwords
from annals.app.proxy.dns import TextRecords
from annals.app.reads import BatchedReads
from annals.application.executions.accept import Accepting
from annals.application.executions.context import Environments
from annals.application.executions.record_outcome import DeferredOutcomes
from annals.capacity.fair_queue import FairQueue
from annals.capacity.limiter import CallLimiter, RequestLimiter
from annals.capacity.slots import ConcurrencySlots
from annals.domain.catalogue import Specification, allowed_runtimes
from annals.domain.ports import Executor
from annals.domain.runtimes import Runtime
from annals.settings import Settings
from annals.store.content.blobs import Blobs
from annals.store.content.digest_checks import BlobReader
from annals.store.coordination.idempotency import Idempotency
from annals.store.log.log import EventLog
from annals.store.postgres.database import Database
from annals.store.postgres.listener import OnDemand
from annals.store.proof.proofs import Proofs
from annals.store.secrets.vault import Vault
from annals.telemetry.metrics import Metrics
from annals.vcs.client import Repositories
from annals.vcs.locating import Locator

CACHE_BYTES = 64 * 1024 * 1024
"""Bytes of presented rows that one process caches."""


class Services(msgspec.Struct, kw_only=True):
    """One per process. `holder` returns the name of this process in the leases of the executions that it runs.

    `signing_secret` returns the secret that signs a project's ephemeral keys, `token_secret` the one for user tokens.
    """

    settings: Settings
    database: Database
    reads: BatchedReads
    log: EventLog
    listening: OnDemand
    vault: Vault
    passwords: Passwords
    blobs: Blobs
    checked: BlobReader
    proofs: Proofs
    executor: Executor
    executor_status: Callable[[], Awaitable[Mapping[str, Any]]]
    available: Available
    environments: Environments
    idempotency: Idempotency
    locator: Locator
    repositories: Repositories
    call_limiter: CallLimiter
    accepting: Accepting
    fair_queue: FairQueue
    working: RequestLimiter = msgspec.field(default_factory=RequestLimiter)
    deferred: DeferredOutcomes
    concurrency_slots: ConcurrencySlots
    holder: Callable[[], str]
    signing_secret: Callable[[str], Awaitable[bytes]]
    token_secret: Callable[[str], Awaitable[bytes]]
    presented: ByteCache = msgspec.field(default_factory=lambda: ByteCache(CACHE_BYTES))
    text_records: TextRecords
    known: KnownCredentials = msgspec.field(default_factory=KnownCredentials)
    failed_keys: FailedKeys = msgspec.field(default_factory=FailedKeys)
    metrics: Metrics
    conservation: Conservation
    runtimes: dict[str, Runtime]
    specifications: dict[str, Specification]

    def now(self) -> datetime:
        return datetime.now(UTC)


def offered(settings: Settings) -> tuple[dict[str, Runtime], dict[str, Specification]]:
    """Return the runtimes and specifications that this instance offers."""
    return allowed_runtimes(settings.runtimes), settings.specifications()

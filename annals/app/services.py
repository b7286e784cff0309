"""The dependencies of request handlers, which the composition root fills in once per process, and their cache."""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

import msgspec

from annals.app.available_runtimes import Available
from annals.app.identity.known_credentials import KnownCredentials
from annals.app.identity.passwords import Passwords
from annals.app.identity.wrong_key_delay import WrongKeyDelay
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


class ByteCache:
    """Evicts the least recently used values over `most` bytes in total, and stores no value over `largest` bytes."""

    def __init__(self, most: int, *, largest: int = 64 * 1024) -> None:
        self._most, self._largest, self._size = most, largest, 0
        self._values: OrderedDict[Hashable, bytes] = OrderedDict()

    def get(self, key: Hashable) -> bytes | None:
        value = self._values.get(key)
        if value is not None:
            self._values.move_to_end(key)
        return value

    def put(self, key: Hashable, value: bytes) -> None:
        if len(value) > self._largest:
            return
        former = self._values.pop(key, None)
        self._size += len(value) - (len(former) if former is not None else 0)
        self._values[key] = value
        while self._size > self._most:
            _, dropped = self._values.popitem(last=False)
            self._size -= len(dropped)

    def __len__(self) -> int:
        return len(self._values)


CACHE_BYTES = 64 * 1024 * 1024
"""Bytes of presented rows that one process caches."""


class TextRecords(Protocol):
    """Reads the TXT records of names."""

    async def of(self, name: str) -> Sequence[str]:
        """Return the texts of a name, or an empty sequence if it has none. Raises `Unresolved` of the resolver."""
        ...


class RemoteExecutor(Executor, Protocol):
    """An executor that also reports its status by address. A sentence takes the place of an executor that does not
    answer."""

    async def status(self) -> Mapping[str, Any]: ...


class Services(msgspec.Struct, kw_only=True):
    """One per process. `holder` returns the name of this process in the leases of the executions that it runs.

    `signing_secret` returns the secret that signs a project's ephemeral keys, `token_secret` the one for user tokens.
    `conservation` returns gauges in Prometheus' text format. `present_unrecorded` returns the wire models of events of
    a project that a dry run would record.
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
    executor: RemoteExecutor
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
    wrong_key_delay: WrongKeyDelay = msgspec.field(default_factory=WrongKeyDelay)
    metrics: Metrics
    conservation: Callable[[], Awaitable[str]]
    present_unrecorded: Callable[[str, Sequence[Any]], Awaitable[Sequence[Any]]]
    runtimes: dict[str, Runtime]
    specifications: dict[str, Specification]

    def now(self) -> datetime:
        return datetime.now(UTC)


def offered(settings: Settings) -> tuple[dict[str, Runtime], dict[str, Specification]]:
    """Return the runtimes and specifications that this instance offers."""
    return allowed_runtimes(settings.runtimes), settings.specifications()

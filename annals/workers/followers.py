"""The followers of a keeper's term: the relay, the triggers, the read models that follow the log, and the seal.

The relay sends workers job messages, after the commit and at least once. The seal grows with the log. The keeper also
signs it, and archives old events.
"""

import asyncio
import functools
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import structlog

from annals.application.executions.triggers import Triggers
from annals.application.process import Process
from annals.domain.deployment import Deployment
from annals.domain.event_names import wants as triggers_want
from annals.domain.execution import Execution
from annals.domain.function import Function
from annals.projections.following import FOLLOWING
from annals.settings import Settings
from annals.store.content.blobs import BlobError
from annals.store.errors import DataKeyReplaced
from annals.store.log.archives import Archiver, Archives
from annals.store.log.follower import ExternalHandler, Follower, Send
from annals.store.log.log import EventLog
from annals.store.log.reader import EventReader, RecordedEvent
from annals.store.log.tail_cache import TailCache
from annals.store.postgres.listener import Listener
from annals.store.proof.destinations import Destinations
from annals.store.proof.notes import Checkpoint, NoteInvalid, signing_key
from annals.store.proof.proofs import Nodes
from annals.store.proof.sealing import FOLLOWER, SealDiverged, Sealer, note_signing, seal
from annals.workers.broker import JobMessageBroker, QueueUnavailable
from annals.workers.clock import Duty
from annals.workers.job_messages import (
    BUILD_DEPLOYMENT,
    RETIRE_DEPLOYMENT,
    RETIRE_FUNCTION,
    RUN_EXECUTION,
    STOP_BUILD,
    STOP_EXECUTION,
    WARM_FUNCTION,
    Cause,
    JobMessage,
)

_GATHER_SECONDS = 0.5
"""Growing tiles are written again each time, so a batch is cheaper than as many single events."""

_ARCHIVE_SECONDS = 3600.0

log = structlog.get_logger(__name__)


class Notification(Protocol):
    """The part of the broker that sends job messages."""

    def wake(self, job_messages: Iterable[JobMessage]) -> int: ...


def reactions(event: Any) -> Iterator[str]:
    """Yield the actors that an event calls for, on its own stream."""
    match event:
        case Execution.Requested(epoch=0, scheduled_at=None):
            yield RUN_EXECUTION
        case Execution.Canceled():
            yield STOP_EXECUTION
        case Deployment.BuildQueued():
            yield BUILD_DEPLOYMENT
        case Deployment.BuildCanceled():
            yield STOP_BUILD
        case Deployment.Deleted():
            yield RETIRE_DEPLOYMENT
        case Function.PolicyChanged() | Function.DeploymentActivated():
            yield WARM_FUNCTION
        case Function.Deleted():
            yield RETIRE_FUNCTION


def wants(event: Any) -> bool:
    """Return True if an event calls for an actor."""
    return next(reactions(event), None) is not None


def job_messages(recorded_events: Iterable[RecordedEvent]) -> list[JobMessage]:
    """Return the job messages of a batch, in order; a batch that is seen twice has the same."""
    return [
        JobMessage(
            actor,
            recorded_event.event.originator_id,
            Cause(recorded_event.position, recorded_event.event.metadata.get("correlation", "")),
        )
        for recorded_event in recorded_events
        for actor in reactions(recorded_event.event)
    ]


def sender(notification: Notification) -> Send:
    """Return the follower's send call. It raises QueueUnavailable while Redis is away, and the follower waits."""

    async def send(recorded_events: Sequence[RecordedEvent]) -> None:
        if due := job_messages(recorded_events):
            await asyncio.to_thread(notification.wake, due)

    return send


def followers(process: Process, listener: Listener, tail_cache: TailCache, queue: JobMessageBroker) -> list[Follower]:
    """Return the followers: callers wait for the effects of the first two, the others let events gather."""
    reader = process.log.reader
    follower = functools.partial(Follower, reader=reader, listener=listener, tail_cache=tail_cache)
    return [
        follower(
            "relay", ExternalHandler(sender(queue)), wants=wants, rest_seconds=0.01, transient=(QueueUnavailable,)
        ),
        triggers_follower(Triggers(process.log, process.vault), reader, listener, tail_cache),
        *(
            follower(name, following.handle, wants=following.wants, gather_seconds=following.gather_seconds)
            for name, following in FOLLOWING.items()
        ),
    ]


def triggers_follower(
    triggers: Triggers, reader: EventReader, listener: Listener, tail_cache: TailCache | None = None
) -> Follower:
    """Return the follower of triggers; the store of blobs, which large inputs need, may be away for a while."""
    return Follower(
        "triggers",
        triggers.follow,
        reader,
        listener,
        batch=50,
        rest_seconds=0.01,
        tail_cache=tail_cache,
        wants=triggers_want,
        transient=(BlobError, DataKeyReplaced),
    )


class Sealing:
    """Seals during one term of a keeper, which goes on without a valid key or destination."""

    def __init__(self, event_log: EventLog, settings: Settings) -> None:
        self._log = event_log
        self._settings = settings
        self._database = event_log.database
        self._blobs = event_log.contents.blobs
        self._sealer: Sealer | None = None
        self._archiver = Archiver(self._database, self._blobs)

    def follower(self, listener: Listener, tail_cache: TailCache) -> Follower:
        reader = self._log.reader
        return Follower(FOLLOWER, seal, reader, listener, tail_cache=tail_cache, gather_seconds=_GATHER_SECONDS)

    def duties(self) -> list[Duty]:
        duties = [Duty("checkpoint", float(self._settings.checkpoint_s), self.sign)]
        if self._settings.log_archive_days:
            duties.append(Duty("archive", _ARCHIVE_SECONDS, self.archive))
        return duties

    async def sign(self) -> Checkpoint | None:
        """Sign the newest tree; the readiness check shows why a tree was not signed.

        Raises BlobError while a destination is away: the next signature is written there too.
        """
        try:
            if self._sealer is None:
                self._sealer = self._opened()
            signed = await self._sealer.sign()
        except (SealDiverged, NoteInvalid) as error:
            log.error("seal_broken", error=str(error))
            await note_signing(self._database, None, str(error))
            return None
        if signed is not None:
            await note_signing(self._database, signed.position, "")
        return signed

    def _opened(self) -> Sealer:
        nodes = Nodes(self._database, Archives(self._database, self._blobs).leaf_hashes)
        destinations = Destinations(self._blobs, self._settings.checkpoint_places)
        return Sealer(self._database, nodes, signing_key(self._settings.seal_key), destinations)

    async def archive(self) -> None:
        """Move events that are older than the setting's days."""
        await self._archiver.run(datetime.now(UTC) - timedelta(days=self._settings.log_archive_days))

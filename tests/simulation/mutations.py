"""Planted bugs, one at a time: each is a plausible mistake that the simulation has to find.

One file because the table of docs/simulation.md lists all of them.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any
from unittest import mock

from msgspec import structs

from annals.app.deployments import uploads
from annals.app.deployments.ranges import UploadChunk
from annals.application import deletion
from annals.domain.base import AggregateEvent
from annals.domain.commands import deployments as deployment_commands
from annals.domain.commands.deployments import ActiveDeployment
from annals.domain.deployment import Deployment
from annals.domain.errors import DomainError
from annals.domain.execution import Execution
from annals.domain.function import Function
from annals.domain.ports import Artefact
from annals.projections.schedules import Schedule
from annals.store.content.blobs import BlobError
from annals.store.content.contents import source_key
from annals.store.coordination import leases
from annals.store.coordination.leases import Watch
from annals.store.errors import StoreUnavailable, StreamConflict
from annals.store.log import append_modes, log
from annals.store.log.build_demand import BuildDemand, Tenant
from annals.store.log.follower import Follower
from annals.store.log.group_append import GroupAppender
from annals.store.log.log import EventLog, Recorded
from annals.store.log.reader import EventBatch
from annals.store.log.request import Statement
from annals.workers import builds, followers, reaper, redelivery, schedules
from annals.workers.builds import BuildActor
from tests.simulation.blobs import digest

Mutation = Callable[[], AbstractContextManager[object]]
MUTATIONS: dict[str, Mutation] = {}
SOUGHT_BY: dict[str, str] = {}
"""The race that finds a mutation, for mutations that random scenarios rarely find."""


def planted(mutation: Mutation) -> Mutation:
    MUTATIONS[mutation.__name__] = mutation
    return mutation


def found_by(race: str) -> Callable[[Mutation], Mutation]:
    def name(mutation: Mutation) -> Mutation:
        SOUGHT_BY[mutation.__name__] = race
        return planted(mutation)

    return name


@planted
def ack_before_commit() -> AbstractContextManager[object]:
    """An append is answered after its statements succeeded, and committed a moment later."""

    async def together(conn: Any, requests: Sequence[Any], _classify: Any) -> list[Any]:
        events = [event for request in requests for event in request.events]
        insert = (append_modes.QUERIES["insert"], append_modes._columns(events))
        steps = [append_modes._BEGIN, append_modes._LOCK, insert, *append_modes._steps_after_events(requests)]
        _, _, inserted, *returned = await conn.run_pipeline(steps)
        rows = append_modes._rows_by_table(requests, returned)
        outcomes: list[Any] = []
        for request, own_rows in zip(requests, rows, strict=True):
            own, inserted = inserted[: len(request.events)], inserted[len(request.events) :]
            outcomes.append(append_modes._appended(own, own_rows))
        asyncio.get_running_loop().call_later(0.001, lambda: asyncio.ensure_future(_try(conn.execute("COMMIT"))))
        return outcomes

    mode = append_modes.MODES["together"]._replace(append=together)
    return mock.patch.dict(append_modes.MODES, together=mode)


async def _try(work: Any) -> None:
    with contextlib.suppress(Exception):
        await work


@found_by("stale_worker_meets_new_claim")
def missing_epoch_check() -> AbstractContextManager[object]:
    """A worker may record the end of a build under an expired claim."""
    return mock.patch.object(Deployment, "_holds", lambda self, epoch: self.status in {"processing", "building"})


@found_by("answers_are_lost")
def outcome_recorded_twice() -> AbstractContextManager[object]:
    """An end is recorded although the execution or build has ended."""
    return mock.patch.object(Execution, "_holds", lambda self, epoch: epoch == self.epoch)


@planted
def cancel_not_checked_at_build_end() -> AbstractContextManager[object]:
    """A build that was canceled while it ran is recorded as built."""
    open_statuses = {"processing", "building", "canceled"}
    return mock.patch.object(
        Deployment, "_holds", lambda self, epoch: epoch == self.epoch and self.status in open_statuses
    )


@planted
def lease_shorter_than_run() -> AbstractContextManager[object]:
    """A heartbeat is sent only after the lease has expired."""

    async def run(self: Any) -> None:
        while True:
            await asyncio.sleep(self._seconds * 2)
            await self._beat()

    return mock.patch.object(leases.ProcessLease, "run", run)


@planted
def reaper_ignores_renewals() -> AbstractContextManager[object]:
    """A holder counts as lost one lease after it was first seen, even if it sends heartbeats."""

    def lost(self: Watch, beats: Any, wanted: Any) -> set[str]:
        now = self._clock()
        self._seen = {name: self._seen.get(name, (0, now)) for name in {*wanted} | beats.keys()}
        return {name for name, (_, since) in self._seen.items() if now - since >= self._seconds}

    return mock.patch.object(Watch, "lost", lost)


@planted
def lost_after_many_leases() -> AbstractContextManager[object]:
    """A silent process counts as lost only after ten leases."""
    real = Watch.lost

    def lost(self: Watch, beats: Any, wanted: Any) -> set[str]:
        with mock.patch.object(self, "_seconds", self._seconds * 10):
            return real(self, beats, wanted)

    return mock.patch.object(Watch, "lost", lost)


@planted
def slot_id_without_due_time() -> AbstractContextManager[object]:
    """All firings of a schedule have the same id."""
    return mock.patch.object(schedules, "firing_id", lambda incarnation, slot: f"{incarnation:020d}")


@planted
def slot_id_differs_by_process() -> AbstractContextManager[object]:
    """Each process gives its firing of a slot an id of its own."""
    numbers = iter(range(10**9))

    def firing_id(incarnation: int, slot: Any) -> str:
        return f"{next(numbers):020d}"

    return mock.patch.object(schedules, "firing_id", firing_id)


@planted
def firing_leaves_the_due_time() -> AbstractContextManager[object]:
    """A schedule stays due after it fired."""
    return mock.patch.object(Schedule, "fired", lambda self, now: self)


@found_by("edits_each_second_meet_the_slots")
def edit_drops_due_slots() -> AbstractContextManager[object]:
    """A changed schedule starts at the time of the change and drops the slots that had not fired yet."""
    real = Schedule.rescheduled

    def rescheduled(self: Schedule, now: Any, **changed: str) -> Schedule:
        same = changed["schedule"] == self.schedule
        return real(self if same else structs.replace(self, schedule_next=None), now, **changed)

    return mock.patch.object(Schedule, "rescheduled", rescheduled)


@planted
def relay_skips_a_position() -> AbstractContextManager[object]:
    """The relay sends no job message for the first event of each batch."""
    real = followers.job_messages
    return mock.patch.object(followers, "job_messages", lambda recorded_events: real(list(recorded_events)[1:]))


@planted
def cursor_saved_before_effects() -> AbstractContextManager[object]:
    """A follower's checkpoint is committed before the batch is handled."""

    async def step(self: Any, limit: int) -> int:
        checkpoint = self._checkpoint
        async with self._database.transaction() as conn:
            await checkpoint.lock(conn)
            batch = await self._reader.batch_after(conn, checkpoint.position, limit)
            if batch:
                await checkpoint.move(conn, batch.end)
        if batch:
            async with self._database.transaction() as conn:
                await self._hand_on(conn, batch)
            checkpoint.stand_at(batch.end)
        return len(batch)

    async def handle_cached(self: Any, batch: EventBatch) -> bool:
        if not await self._checkpoint.move_on(batch.end):
            return False
        async with self._database.transaction() as conn:
            await self._hand_on(conn, batch)
        return True

    return mock.patch.multiple(Follower, _step=step, _handle_cached=handle_cached)


@found_by("older_build_meets_newer_activation")
def older_activation_wins() -> AbstractContextManager[object]:
    """A build that ends activates its deployment even if a newer one is active."""

    def complete_build(function: Function, deployment: Deployment, **recorded_events: Any) -> list[Any]:
        recorded_events["active"] = ActiveDeployment(function.deployment_id, newer=False)
        return deployment_commands.complete_build(function, deployment, **recorded_events)

    return mock.patch.object(builds, "complete_build", complete_build)


@planted
def double_enqueue_without_claim() -> AbstractContextManager[object]:
    """Workers share a name, so each takes the claims of the others for its own."""
    return mock.patch.object(leases, "holder_id", lambda role: role)


@found_by("answers_are_lost")
def retry_without_idempotency() -> AbstractContextManager[object]:
    """An append whose answer was lost is sent again, and its own recorded events count as a conflict."""

    async def conflict(self: Any, conn: Any, queued: Any, outcome: Any) -> Any:
        return outcome

    return mock.patch.object(GroupAppender, "_stored_outcome", conflict)


@planted
def lost_race_answered_as_done() -> AbstractContextManager[object]:
    """A command that lost a race answers as if it had been recorded."""
    real = EventLog._append

    async def append(self: Any, aggregates: Any, meta: Any, contents: Any, **options: Any) -> Recorded:
        events = [event for aggregate in aggregates for event in aggregate.changes]
        try:
            return await real(self, aggregates, meta, contents, **options)
        except StreamConflict:
            return Recorded(0, None, {}, aggregates, events)

    return mock.patch.object(EventLog, "_append", append)


@found_by("activation_meets_deletion")
def read_streams_may_change() -> AbstractContextManager[object]:
    """A command decides on streams that another client changes at the same time."""
    return mock.patch.object(log, "_unchanged", return_value=[])


@planted
def concurrency_slots_are_not_counted() -> AbstractContextManager[object]:
    """Executions start without a check of the function's concurrency limit."""
    return mock.patch.object(append_modes, "_admitted", lambda requests, *_found: [True] * len(requests))


@planted
def nothing_sent_again() -> AbstractContextManager[object]:
    """Lost job messages are not sent again."""
    return mock.patch.object(redelivery, "missing", return_value=[])


@planted
def builds_of_lost_workers_stay() -> AbstractContextManager[object]:
    """The builds of a lost worker are not taken back, only its executions."""
    real = reaper.take_back

    async def take_back(log: Any, stream: str, epoch: int, meta: Any) -> None:
        if stream.startswith("execution:"):
            await real(log, stream, epoch, meta)

    return mock.patch.object(reaper, "take_back", take_back)


@found_by("job_messages_come_twice")
def build_runs_without_a_claim() -> AbstractContextManager[object]:
    """Every worker that gets a job message starts the build, without a claim."""

    @contextlib.contextmanager
    def patched() -> Iterator[None]:
        real = BuildActor._claim_next

        async def claim_next(self: Any, stream: str, cause: Any) -> Any:
            attempt = await real(self, stream, cause)
            if attempt is not None:
                return attempt
            from annals.workers.builds import BuildAttempt, _key

            deployment = await self._log.load(_key(stream))
            return BuildAttempt(deployment, deployment.epoch, cause) if deployment.status == "processing" else None

        with mock.patch.object(BuildActor, "_claim_next", claim_next):
            yield

    return patched()


@found_by("chunks_in_any_order")
def event_before_its_blob() -> AbstractContextManager[object]:
    """A source is recorded before its blob is stored."""

    async def complete(call: Any, upload: uploads.Upload, chunk: UploadChunk) -> Any:
        blobs, parts = call.services.blobs, uploads._parts(call, upload.deployment_id)
        whole = b"".join([await blobs.get(f"{parts}/{number}") for number in range(chunk.parts)])
        blob_key = source_key(call.project_id, upload.deployment_id)
        source = Artefact(key=blob_key, digest=digest(whole), size=len(whole))
        key = Deployment.key(call.project_id, upload.deployment_id)
        recorded = await call.services.log.run(Deployment.store_source, key, meta=await call.meta(), source=source)
        await blobs.put(source.key, whole)
        return uploads._row(call, recorded)

    return mock.patch.object(uploads, "_complete", complete)


@found_by("uploads_meet_a_store_that_fails")
def failed_join_counts_as_done() -> AbstractContextManager[object]:
    """An upload whose parts cannot be joined counts as joined by another process."""
    return mock.patch.object(uploads, "BlobMissing", BlobError)


@planted
def source_removed_when_unsure() -> AbstractContextManager[object]:
    """The source of an unanswered append is deleted, although the append may be committed."""
    return mock.patch.object(uploads, "DomainError", (DomainError, StoreUnavailable))


@found_by("long_builds_of_one_project_meet_those_of_another")
def builds_start_by_age() -> AbstractContextManager[object]:
    """The oldest builds get the slots, whichever project they belong to."""

    def startable(self: BuildDemand) -> list[Tenant]:
        free = self.slots - sum(tenant.running for tenant in self.tenants)
        return sorted((t for t in self.tenants if t.waiting), key=lambda t: t.since)[: max(0, free)]

    return mock.patch.object(BuildDemand, "startable", startable)


@found_by("long_builds_of_one_project_meet_those_of_another")
def build_slots_are_not_counted_at_the_claim() -> AbstractContextManager[object]:
    """A build takes a slot that was free when the worker looked, even if another build has taken it meanwhile."""
    return mock.patch.object(BuildDemand, "admits", return_value=True)


@planted
def projects_are_not_checked() -> AbstractContextManager[object]:
    """An append is committed for a project that was deleted after the request was authorized."""
    return mock.patch.object(AggregateEvent, "REQUIRES_PROJECT", False)


@planted
def project_is_deleted_with_users_in_it() -> AbstractContextManager[object]:
    """A project is deleted although users or functions were created in it meanwhile."""
    return mock.patch.object(deletion, "Statement", return_value=Statement("SELECT 1", {}))


@found_by("project_reuse_meets_sealing")
def data_keys_are_not_checked() -> AbstractContextManager[object]:
    """A value is recorded although the key that sealed it was deleted."""
    return mock.patch.object(EventLog, "_keys_of", return_value=())

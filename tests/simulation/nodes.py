"""The processes of an instance, made of the real parts: API processes, workers, keepers."""

import asyncio
import functools
import mmap
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from annals.application.build_preparation import BuildLimits
from annals.application.event_log import open_log
from annals.application.executions.context import Environments
from annals.capacity.fair_queue import FairQueue
from annals.capacity.shared_memory import SIZE, TenantActivity
from annals.capacity.slots import ConcurrencySlots, FreedSlots
from annals.domain.environment import InstanceInfo
from annals.domain.ports import Executor
from annals.projections import schedules
from annals.store.content.contents import Contents
from annals.store.coordination.leases import NO_BUILDS, BuildSlots, Leases, ProcessLease
from annals.store.coordination.pauses import SCHEDULES, Pauses
from annals.store.errors import StoreUnavailable
from annals.store.log.append_modes import FREED_SLOTS
from annals.store.log.follower import ExternalHandler, Follower
from annals.store.log.log import EventLog
from annals.store.log.tail_cache import TailCache
from annals.store.postgres.listener import Listener, OnDemand
from annals.workers.broker import QueueUnavailable
from annals.workers.builds import BuildActor
from annals.workers.cleanup import BlobGarbage, Cleanup, RetentionSweeper
from annals.workers.clock import Duty, keep, unless_held
from annals.workers.executions import ExecutionActor
from annals.workers.followers import sender, wants
from annals.workers.job_messages import (
    BUILD_DEPLOYMENT,
    BUILDS,
    CLEANUP,
    EXECUTIONS,
    RETIRE_DEPLOYMENT,
    RETIRE_FUNCTION,
    RUN_EXECUTION,
    STOP_BUILD,
    STOP_EXECUTION,
    WARM_FUNCTION,
    Cause,
)
from annals.workers.keeper import Keeper, Leadership, Work
from annals.workers.reaper import ClaimedWork, ClaimReconciliation, Overdue, Reaper
from annals.workers.redelivery import Redelivery, wake
from annals.workers.schedules import Schedules
from tests.simulation.connection import SimulatedDatabase
from tests.simulation.job_messages import Handler, SimulatedDispatcher

if TYPE_CHECKING:
    from tests.simulation.world import World

LEASE_SECONDS = 4.0
START_SECONDS = 1.0
OVERDUE_SECONDS = 20
"""More than the transport's slack of fifteen seconds."""

BUILD_SECONDS = 5.0
BUILD_SLOTS = BuildSlots(2, 1)


_DECODERS: dict[str, Any] = {}


class PlainVault:
    """A vault that does not encrypt: no scenario is about secrets."""

    async def seal(self, project: str, owner: str, name: str, plaintext: str) -> str:
        return plaintext

    async def open(self, project: str, owner: str, name: str, sealed: str) -> str:
        return sealed

    async def derive(self, project: str, purpose: str) -> bytes:
        return b"k" * 32


class Uploaded:
    """The reporter of a world without repositories: it fetches no sources and notifies no host."""

    def report(self, deployment: Any, state: str) -> None:
        return


class Parts(NamedTuple):
    """The parts that each process opens."""

    database: SimulatedDatabase
    log: EventLog
    contents: Contents
    vault: Any
    environments: Environments
    process_lease: ProcessLease
    concurrency_slots: ConcurrencySlots
    fair_queue: FairQueue


def is_contended() -> FairQueue:
    """Return a fair queue that runs one request of a project at a time, as under contention."""
    tenant_activity = TenantActivity(mmap.mmap(-1, SIZE), lambda: 1.0)
    tenant_activity.record_call("another")
    return FairQueue(tenant_activity, 1)


async def opened(world: "World", role: str, builds: BuildSlots = NO_BUILDS) -> Parts:
    database = SimulatedDatabase(world.server)
    contents = Contents(database, world.blobs)
    log = await open_log(database, contents)
    log.mapper._decoders = _DECODERS  # shared by the thousands of processes of a run
    vault: Any = PlainVault()
    platform = InstanceInfo(endpoint="http://localhost/v1", version="1.9.0", region="default")
    process_lease = ProcessLease(Leases(database), role, lease_seconds=LEASE_SECONDS, builds=builds)
    while True:
        try:
            await process_lease.enter()
            break
        except StoreUnavailable:  # a real process ends, and its parent starts it again
            await asyncio.sleep(0.5)
    world.process_leases.append((world.current_node(), process_lease))
    world.loop.create_task(process_lease.run())
    concurrency_slots = ConcurrencySlots(OnDemand(database, FREED_SLOTS))
    environments = Environments(database, vault, platform)
    return Parts(database, log, contents, vault, environments, process_lease, concurrency_slots, is_contended())


async def worker(world: "World") -> SimulatedDispatcher:
    parts = await opened(world, "worker", BUILD_SLOTS)
    executor: Executor = world.executor
    executions = ExecutionActor(
        parts.log,
        process_lease=parts.process_lease,
        contents=parts.contents,
        vault=parts.vault,
        environments=parts.environments,
        executor=executor,
        start_seconds=START_SECONDS,
        executor_retry_seconds=3.0,
    )
    builds = BuildActor(
        parts.log,
        process_lease=parts.process_lease,
        vault=parts.vault,
        environments=parts.environments,
        executor=executor,
        sources=world.uploaded,
        statuses=world.uploaded,
        limits=BuildLimits(
            timeout_seconds=BUILD_SECONDS,
            output_limit_bytes=10**9,
            executor_pause_seconds=0.5,
            executor_retry_seconds=3.0,
        ),
        queue=world.queue,
    )
    retention = RetentionSweeper(parts.log, execution_days=0)
    blob_garbage = BlobGarbage(parts.database, parts.contents, grace=timedelta(hours=1))
    cleanup = Cleanup(parts.log, executor, retention, blob_garbage)
    claim_reconciliation = ClaimReconciliation(
        parts.log,
        parts.process_lease,
        ClaimedWork(executions.claimed, executions.stop),
        ClaimedWork(builds.claimed, builds.stop),
    )
    world.loop.create_task(keep(Duty("claims", LEASE_SECONDS / 2, claim_reconciliation.run)))
    handlers: dict[str, Handler] = {
        RUN_EXECUTION: executions.run,
        BUILD_DEPLOYMENT: builds.run,
        STOP_EXECUTION: cleanup.stop_execution,
        STOP_BUILD: builds.stop,
        RETIRE_DEPLOYMENT: cleanup.retire_deployment,
        RETIRE_FUNCTION: cleanup.retire_function,
        WARM_FUNCTION: _nothing_to_warm,
    }
    limiters = {EXECUTIONS: 4, BUILDS: sum(BUILD_SLOTS), CLEANUP: 8}
    dispatcher = SimulatedDispatcher(world.queue, world.current_node(), handlers, limiters, world.fail)
    dispatcher.pull()
    return dispatcher


async def _nothing_to_warm(_stream: str, _cause: Cause) -> None:
    return


async def keeper(world: "World") -> None:
    parts = await opened(world, "keeper")
    async with Listener.open(parts.database) as listener, Listener.open(parts.database, FREED_SLOTS) as freed:
        await Keeper(Leadership(parts.database), lambda: term(world, parts, listener, freed)).serve()


def term(world: "World", parts: Parts, listener: Listener, freed: Listener) -> Sequence[Work]:
    """Return the followers and clocks of one term of the keeper, with this world's clocks."""
    log, queue = parts.log, world.queue
    follower = functools.partial(
        Follower, reader=log.reader, listener=listener, tail_cache=TailCache(log.reader, listener)
    )
    sending = ExternalHandler(sender(queue))
    relay = follower("relay", sending, wants=wants, rest_seconds=0.01, transient=(QueueUnavailable,), batch=50)
    following = follower("schedules", schedules.follow, wants=schedules.wants, gather_seconds=0.1)
    holds, firing = Pauses(parts.database), Schedules(log, queue, look_back_seconds=5.0)
    clock = world.loop.time
    reaper = Reaper(log, lease_seconds=LEASE_SECONDS, clock=clock)
    redelivery = Redelivery(parts.database, queue, clock=clock)
    freed_slots = FreedSlots(parts.database, freed, functools.partial(wake, parts.database, queue, RUN_EXECUTION))

    async def resend() -> None:
        world.resent += await redelivery.sweep()

    duties = [
        Duty("reaper", LEASE_SECONDS / 5, reaper.sweep),
        Duty("overdue", 5.0, Overdue(log, slack_seconds=OVERDUE_SECONDS, clock=clock).sweep),
        Duty("freed_slots", 1.0, freed_slots.run),
        Duty("abandoned", 5.0, RetentionSweeper(log, execution_days=0).end_abandoned_builds),
        Duty("redelivery", 2.0, unless_held(holds, SCHEDULES, resend)),
        Duty("schedules", 0.5, unless_held(holds, SCHEDULES, firing.tick)),
    ]
    return [relay.run, following.run, *(_kept(duty) for duty in duties)]


def _kept(duty: Duty) -> Work:
    return lambda: keep(duty)


async def api(world: "World") -> Parts:
    return await opened(world, "api")

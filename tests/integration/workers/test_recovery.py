"""Recovery: the reaper takes back lost claims, redelivery repeats lost messages, a process gives up its own claims."""

import asyncio
from collections.abc import Iterable

from annals.domain.commands.deployments import delete_deployment
from annals.domain.deployment import Deployment
from annals.domain.execution import Execution
from annals.domain.function import Function
from annals.store.coordination.leases import Leases
from annals.workers.job_messages import BUILD_DEPLOYMENT, RUN_EXECUTION, Cause, JobMessage
from annals.workers.reaper import ClaimedWork, ClaimReconciliation, Overdue, Reaper
from annals.workers.redelivery import Redelivery, missing
from tests.integration.workers.valkey import until
from tests.integration.workers.world import META, PROJECT, World

LEASE = 10.0


class FakeQueue:
    """Records the messages; `queued` returns a given number."""

    def __init__(self) -> None:
        self.sent: list[JobMessage] = []
        self.holds = 0

    def wake(self, job_messages: Iterable[JobMessage]) -> int:
        self.sent += job_messages
        return len(self.sent)

    def queued(self, queue_name: str, tenant: str = "") -> int:
        return self.holds


class Watchman:
    """A reaper with a clock of its own, which goes on by a fixed step each sweep."""

    def __init__(self, world: World) -> None:
        self._leases, self._now = Leases(world.database), 0.0
        self._reaper = Reaper(world.log, lease_seconds=LEASE, clock=lambda: self._now)

    async def watch(self, *living: str) -> int:
        """Sweep for a little more than a lease, in which only the `living` beat; return how much was taken back."""
        taken = 0
        for _ in range(7):
            for holder in living:
                await self._leases.beat(holder, "worker")
            taken += await self._reaper.sweep()
            self._now += LEASE / 5
        return taken


async def test_work_of_a_lost_worker_is_taken_back(world: World) -> None:
    incarnation = await world.built()
    lost, alive = await world.process_lease(), await world.process_lease()
    execution = await world.request("x1", incarnation)
    build = await world.deployment(incarnation, "d2")
    other = await world.request("x2", incarnation)
    world.executor.go.clear()
    running = [
        asyncio.create_task(world.executions(lost).run(execution)),
        asyncio.create_task(world.builds(lost).run(build)),
        asyncio.create_task(world.executions(alive).run(other)),
    ]
    await until(lambda: len(world.executor.runs) == 2 and len(world.executor.builds) == 2)

    assert await Watchman(world).watch(alive.id) == 2

    row = await world.execution("x1")
    assert (row["status"], row["reason"]) == ("failed", "worker_lost")
    assert (await world.deployed("d2"))["status"] == "waiting"
    assert (await world.execution("x2"))["status"] == "processing", "the living one keeps what it holds"
    holders = {holder.holder for holder in await Leases(world.database).holders()}
    assert alive.id in holders
    assert lost.id not in holders
    world.executor.go.set()
    await asyncio.gather(*running)
    assert (await world.execution("x2"))["status"] == "completed"
    assert (await world.execution("x1"))["reason"] == "worker_lost"


async def test_claim_of_an_unknown_process_is_taken_back(world: World) -> None:
    """Remove the claim holder's row, as for a process that was paused."""
    await world.request("x1", await world.built(), worker="worker-gone-1")

    assert await Watchman(world).watch() == 1

    assert (await world.execution("x1"))["reason"] == "worker_lost"


async def test_execution_is_ended_once_by_two_reapers(world: World) -> None:
    stream = await world.request("x1", await world.built(), worker="worker-gone-1")

    assert sum(await asyncio.gather(*(Watchman(world).watch() for _ in range(2)))) in (1, 2)

    assert (await world.execution("x1"))["status"] == "failed"
    assert await world.topics(stream) == ["execution.requested", "execution.failed"]


async def test_process_gives_up_its_own_forgotten_claim(world: World) -> None:
    process_lease = await world.process_lease()
    incarnation = await world.built()
    await world.request("x1", incarnation, worker=process_lease.id)
    await world.request("x2", incarnation, worker=process_lease.id)
    executions = world.executions(process_lease)
    executions.claimed.add("execution:p:x2")

    claim_reconciliation = ClaimReconciliation(
        world.log, process_lease, ClaimedWork(executions.claimed, executions.stop)
    )

    await claim_reconciliation.run()
    await claim_reconciliation.run()

    assert (await world.execution("x1"))["status"] == "failed"
    assert (await world.execution("x2"))["status"] == "processing"


async def test_execution_dropped_by_a_living_process_ends_as_overdue(world: World) -> None:
    """The outcome of a synchronous call could not be recorded, and its process is alive."""
    api, incarnation = await world.process_lease("api"), await world.built(timeout=20)
    await world.request("dropped", incarnation, worker=api.id)
    await world.request("runs", incarnation, worker=api.id)
    await world.database.execute(
        "UPDATE executions SET started_at = started_at - interval '2 minutes' WHERE execution_id = 'dropped'"
    )
    clock = iter([0.0, 5.0, 10.0])
    overdue = Overdue(world.log, slack_seconds=90, clock=lambda: next(clock))

    assert [await overdue.sweep() for _ in range(3)] == [0, 0, 1]

    assert (await world.execution("dropped"))["reason"] == "worker_lost"
    assert (await world.execution("runs"))["status"] == "processing"


async def test_work_whose_claim_is_gone_is_stopped(world: World) -> None:
    """The job message of the deletion was lost."""
    process_lease, incarnation = await world.process_lease(), await world.function()
    builds = world.builds(process_lease)
    world.executor.go.clear()
    running = [
        asyncio.create_task(builds.run(await world.deployment(incarnation, deployment))) for deployment in ("d1", "d2")
    ]
    await until(lambda: len(world.executor.builds) == 2)
    claim_reconciliation = ClaimReconciliation(world.log, process_lease, ClaimedWork(builds.claimed, builds.stop))
    await claim_reconciliation.run()
    keys = Function.key(PROJECT, "f"), Deployment.key(PROJECT, "d1")
    await world.log.run(delete_deployment, *keys, meta=META)

    await claim_reconciliation.run()
    await claim_reconciliation.run()

    assert world.executor.canceled == ["d1"]
    world.executor.go.set()
    await asyncio.gather(*running)
    assert (await world.deployed("d2"))["status"] == "ready"


async def test_waiting_execution_without_a_job_message_gets_another(world: World) -> None:
    incarnation = await world.built()
    executions = [await world.request(f"x{n}", incarnation) for n in range(3)]
    build = await world.deployment(incarnation, "d2")
    queue = FakeQueue()
    now = 0.0
    sweep = Redelivery(world.database, queue, clock=lambda: now).sweep
    assert await sweep() == 0, "their own wake-ups are on their way"
    await world.database.execute("UPDATE executions SET created_at = created_at + interval '2 hours'")
    await world.database.execute("UPDATE deployments SET queued_at = queued_at + interval '2 hours'")
    now = 4.0

    assert await sweep() == 4, "whatever has become of the clocks since"

    assert [(w.actor, w.stream) for w in queue.sent] == [
        *((RUN_EXECUTION, stream) for stream in executions),
        (BUILD_DEPLOYMENT, build),
    ]
    assert [w.cause for w in queue.sent] == [Cause(await queued_at(world, w.stream), "r1") for w in queue.sent]


async def queued_at(world: World, stream: str) -> int:
    """Return the position of the event that queued a stream."""
    queued = (Execution.Requested, Deployment.BuildQueued)
    return next(f.position for f in await world.log.reader.of_stream(stream) if isinstance(f.event, queued))


async def test_execution_behind_others_gets_no_second_job_message(world: World) -> None:
    incarnation = await world.built()
    for n in range(3):
        await world.request(f"x{n}", incarnation)
    queue = FakeQueue()
    queue.holds = 2
    now = 0.0
    sweep = Redelivery(world.database, queue, clock=lambda: now).sweep
    await sweep()
    now = 4.0

    await sweep()

    assert [w.stream for w in queue.sent] == ["execution:p:x0"]


def test_only_the_oldest_lack_their_job_message() -> None:
    assert missing(["a", "b", "c"], waiting=5, queued=0) == ["a", "b", "c"]
    assert missing(["a", "b", "c"], waiting=5, queued=3) == ["a", "b"]
    assert missing(["a", "b", "c"], waiting=5, queued=9) == []

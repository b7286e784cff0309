"""Build slots are shared between projects, over all workers."""

import asyncio
from collections.abc import AsyncIterator, Iterable

import pytest

from annals.domain.commands.projects import create_project
from annals.domain.deployment import Deployment
from annals.domain.ports import Artefact, Build, BuildOutcome, LogSink
from annals.domain.project import Project
from annals.store.coordination.leases import BuildSlots
from annals.store.errors import NoFreeSlot
from annals.store.log.build_demand import SHORT_SECONDS, read_demand
from annals.store.log.request import BuildSlot
from annals.workers.builds import BuildActor
from annals.workers.job_messages import BUILD_DEPLOYMENT, JobMessage
from annals.workers.redelivery import Redelivery
from tests.integration.workers.executor import FakeExecutor
from tests.integration.workers.test_recovery import FakeQueue
from tests.integration.workers.valkey import until
from tests.integration.workers.world import META, World


class EndsOneByOne(FakeExecutor):
    """An executor whose builds go on until the test ends them."""

    def __init__(self) -> None:
        super().__init__()
        self.running: dict[str, asyncio.Future[BuildOutcome]] = {}

    async def build(self, job: Build, log: LogSink) -> BuildOutcome:
        await log("building\n")
        self.running[job.deployment] = future = asyncio.get_running_loop().create_future()
        outcome: BuildOutcome = await future
        return outcome

    def end(self, deployment_id: str, seconds: float = 1.0) -> None:
        artefact = Artefact(key=f"artefacts/{deployment_id}", digest="a" * 64, size=123)
        self.running.pop(deployment_id).set_result(BuildOutcome(artefact=artefact, seconds=seconds))


class Workers:
    """Workers and their queue: each job message is taken up at once, by the workers in turn."""

    def __init__(self) -> None:
        self.builds: list[BuildActor] = []
        self.tasks: list[asyncio.Task[None]] = []
        self._loop = asyncio.get_running_loop()

    def wake(self, job_messages: Iterable[JobMessage]) -> int:
        asked = [job_message.stream for job_message in job_messages]
        for stream in asked:
            self._loop.call_soon_threadsafe(self.begin, stream)
        return len(asked)

    def queued(self, queue_name: str, tenant: str = "") -> int:
        return 0

    def begin(self, stream: str) -> None:
        worker = self.builds[len(self.tasks) % len(self.builds)]
        self.tasks.append(asyncio.ensure_future(worker.run(stream)))

    async def start(self, world: World, *capacities: BuildSlots) -> None:
        for capacity in capacities:
            self.builds.append(world.builds(await world.process_lease(builds=capacity), queue=self))


@pytest.fixture
async def executor(world: World) -> EndsOneByOne:
    executor = EndsOneByOne()
    world.executor = executor
    return executor


@pytest.fixture
async def workers() -> AsyncIterator[Workers]:
    started = Workers()
    yield started
    for task in started.tasks:
        task.cancel()
    await asyncio.gather(*started.tasks, return_exceptions=True)


async def project(world: World, project_id: str) -> int:
    """Make a project with a function, and return the function's incarnation."""
    absent = Project.absent(project_id)
    await world.log.run(create_project, absent, meta=META, project_id=project_id, name="P", keys=[])
    return await world.function(project_id=project_id)


async def deployment(world: World, project_id: str, incarnation: int, own_id: str) -> str:
    """Make a deployment whose build waits, and return its stream."""
    return await world.deployment(incarnation, own_id, activate=False, project_id=project_id)


async def fill(world: World, workers: Workers, executor: EndsOneByOne, project_id: str, count: int) -> int:
    """Make a project whose builds wait and run, and return how many run."""
    before = len(executor.running)
    incarnation = await project(world, project_id)
    for number in range(count):
        workers.begin(await deployment(world, project_id, incarnation, f"{project_id}{number}"))
    await until(lambda: settled(workers, executor))
    return len(executor.running) - before


def settled(workers: Workers, executor: EndsOneByOne) -> bool:
    """Return True once each job message was handled, whether a build started or not."""
    return sum(not task.done() for task in workers.tasks) == len(executor.running)


async def test_build_of_another_project_starts_beside_two_long_ones(
    world: World, executor: EndsOneByOne, workers: Workers
) -> None:
    await workers.start(world, BuildSlots(2, 1))
    assert await fill(world, workers, executor, "noisy", 4) == 2, "alone it has all slots and not the reserve"

    quiet = await project(world, "quiet")
    workers.begin(await deployment(world, "quiet", quiet, "quiet0"))
    workers.begin(await deployment(world, "quiet", quiet, "quiet1"))

    await until(lambda: "quiet0" in executor.running)
    await until(lambda: settled(workers, executor))
    assert set(executor.running) == {"noisy0", "noisy1", "quiet0"}, "one slot of the reserve for each project"
    executor.end("noisy0")
    executor.end("noisy1")
    await until(lambda: "noisy2" in executor.running)
    await until(lambda: settled(workers, executor))
    assert set(executor.running) == {"quiet0", "noisy2"}, "then each has half"
    executor.end("quiet0")
    await until(lambda: "quiet1" in executor.running)
    executor.end("quiet1")
    await until(lambda: "noisy3" in executor.running)
    executor.end("noisy2")
    executor.end("noisy3")
    await until(lambda: all(task.done() for task in workers.tasks))
    rows = await world.database.rows("SELECT status, count(*) FROM deployments GROUP BY status")
    assert rows == [{"status": "ready", "count": 6}], "each build ended, and each end woke the next"


async def test_slots_of_all_workers_are_shared_not_those_of_each(
    world: World, executor: EndsOneByOne, workers: Workers
) -> None:
    await workers.start(world, BuildSlots(1, 1), BuildSlots(1, 0))

    assert await fill(world, workers, executor, "noisy", 5) == 2
    assert await fill(world, workers, executor, "quiet", 5) == 1
    assert await fill(world, workers, executor, "third", 5) == 0, "the one reserve is taken"


async def test_long_build_leaves_the_reserve_to_a_short_one_while_slots_are_shared(
    world: World, executor: EndsOneByOne, workers: Workers
) -> None:
    await workers.start(world, BuildSlots(2, 1))
    slow = await project(world, "slow")
    workers.begin(await deployment(world, "slow", slow, "slow0"))
    await until(lambda: "slow0" in executor.running)
    executor.end("slow0", seconds=SHORT_SECONDS + 30)
    await until(lambda: all(task.done() for task in workers.tasks))
    for name in ("a", "b"):
        assert await fill(world, workers, executor, name, 1) == 1

    workers.begin(await deployment(world, "slow", slow, "slow1"))
    await until(lambda: settled(workers, executor))
    assert "slow1" not in executor.running
    assert await fill(world, workers, executor, "quick", 1) == 1
    executor.end("a0")
    await until(lambda: settled(workers, executor))
    executor.end("b0")
    await until(lambda: "slow1" in executor.running)


async def test_claim_beyond_the_share_is_refused_by_postgres(world: World) -> None:
    await world.process_lease(builds=BuildSlots(2, 0))
    noisy, quiet = await project(world, "noisy"), await project(world, "quiet")
    for number in range(3):
        await deployment(world, "noisy", noisy, f"n{number}")
    await deployment(world, "quiet", quiet, "q0")

    async def claim(project_id: str, own_id: str) -> bool:
        key, slot = Deployment.key(project_id, own_id), BuildSlot(project_id)
        try:
            await world.log.run(Deployment.claim_build, key, meta=META, takes=slot, worker=f"w-{own_id}")
        except NoFreeSlot:
            return False
        return True

    taken = await asyncio.gather(*(claim("noisy", f"n{number}") for number in range(3)))

    assert taken.count(True) == 1, "of claims in one batch, too"
    assert await claim("quiet", "q0")
    assert not await claim("noisy", "n2")
    demand = await read_demand(world.database)
    assert {tenant.project_id: tenant.running for tenant in demand.tenants} == {"noisy": 1, "quiet": 1}


async def test_builds_that_may_not_start_are_not_sent_again(world: World) -> None:
    await world.process_lease(builds=BuildSlots(1, 0))
    noisy = await project(world, "noisy")
    streams = [await deployment(world, "noisy", noisy, f"n{number}") for number in range(3)]
    queue, now = FakeQueue(), 0.0
    sweep = Redelivery(world.database, queue, clock=lambda: now).sweep
    await sweep()
    now = 4.0

    assert await sweep() == 1
    assert [(job_message.actor, job_message.stream) for job_message in queue.sent] == [(BUILD_DEPLOYMENT, streams[0])]
    await world.log.run(Deployment.claim_build, Deployment.key("noisy", "n0"), meta=META, worker="w")
    assert await sweep() == 0

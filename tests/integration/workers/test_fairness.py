"""A project's flood leaves room for others: in the queue, in a worker's slots, and at redelivery."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from annals.capacity.limiter import WorkerLimiter
from annals.workers.broker import JobMessageBroker, TenantQueues
from annals.workers.job_messages import RUN_EXECUTION, Cause, JobMessage
from annals.workers.redelivery import Redelivery
from annals.workers.worker_process import Dispatcher
from tests.integration.workers.test_recovery import FakeQueue
from tests.integration.workers.valkey import UnhurriedBroker, Valkey, rung_to_its_end, until
from tests.integration.workers.world import META, PROJECT, World


class Held:
    """A dispatcher whose work stays in hand until the test releases it, one by one."""

    def __init__(
        self, url: str, slots: int, tenant_limit: int = 0, *, broker: type[JobMessageBroker] = JobMessageBroker
    ) -> None:
        self.seen: list[str] = []
        self._released = asyncio.Semaphore(0)
        limiters = {"executions": WorkerLimiter(slots, tenant_limit)}
        self.dispatcher = Dispatcher(broker(url, limiters), {RUN_EXECUTION: self._work})

    async def _work(self, stream: str, _cause: Cause) -> None:
        self.seen.append(stream.split(":")[1])
        await self._released.acquire()

    def let_go(self, count: int = 1) -> None:
        for _ in range(count):
            self._released.release()


@pytest.fixture
async def dispatchers() -> AsyncIterator[list[Held]]:
    made: list[Held] = []
    yield made
    for held in made:
        await held.dispatcher.stop(0)


def flood(project: str, count: int) -> list[JobMessage]:
    return [JobMessage(RUN_EXECUTION, f"execution:{project}:{n}", Cause(n, "r")) for n in range(count)]


async def test_queue_serves_projects_in_turn(valkey: Valkey, dispatchers: list[Held]) -> None:
    sender = JobMessageBroker(valkey.url)
    sender.wake(flood("a", 500))
    sender.wake(flood("b", 2))
    sender.wake(flood("c", 1))
    held = Held(valkey.url, slots=1)
    dispatchers.append(held)
    held.dispatcher.start()

    for count in range(1, 7):
        await until(lambda count=count: len(held.seen) == count)  # type: ignore[misc]
        held.let_go()

    assert held.seen[:6] == ["a", "b", "c", "a", "b", "a"]


async def test_project_at_its_share_reuses_a_freed_slot_at_once(
    valkey: Valkey,
) -> None:
    """No notification announces the slot."""
    JobMessageBroker(valkey.url).wake(flood("a", 40))
    held = Held(valkey.url, slots=4, tenant_limit=1, broker=UnhurriedBroker)
    held.dispatcher.start()
    await until(lambda: len(held.seen) == 1)

    for count in range(2, 41):
        held.let_go()
        await until(lambda count=count: len(held.seen) == count)  # type: ignore[misc]

    held.let_go()
    await rung_to_its_end(held.dispatcher.stop(0), valkey.url)


async def test_flood_of_a_project_leaves_worker_slots_to_others(valkey: Valkey, dispatchers: list[Held]) -> None:
    sender = JobMessageBroker(valkey.url)
    sender.wake(flood("a", 50))
    held = Held(valkey.url, slots=4, tenant_limit=3)
    dispatchers.append(held)
    held.dispatcher.start()
    await until(lambda: len(held.seen) == 3)

    sender.wake(flood("b", 1))

    await until(lambda: len(held.seen) == 4)
    assert held.seen == ["a", "a", "a", "b"]
    held.let_go(4)
    await until(lambda: len(held.seen) == 7)


async def test_messages_fetched_by_a_stopped_worker_are_served_in_order(valkey: Valkey) -> None:
    sender = JobMessageBroker(valkey.url)
    tenant_queues: TenantQueues = sender.tenant_queues["executions"]
    sender.wake(flood("a", 3))
    sender.wake(flood("b", 1))
    taken = tenant_queues.take(3, most=8, allowed={})
    assert [tenant for tenant, _ in taken] == ["a", "b", "a"]

    tenant_queues.give_back(taken)

    assert (sender.queued("executions", "a"), sender.queued("executions", "b")) == (3, 1)
    again = tenant_queues.take(10, most=8, allowed={"b": 0})
    assert [tenant for tenant, _ in again] == ["a", "a", "a"]
    assert [message for tenant, message in again][:2] == [message for tenant, message in taken if tenant == "a"]
    assert tenant_queues.take(10, most=8, allowed={}) == [taken[1]]
    assert tenant_queues.take(10, most=8, allowed={}) == []


async def test_lost_job_message_is_redelivered_behind_another_projects_flood(world: World) -> None:
    incarnation = await world.built()
    for number in range(5):
        await world.request(f"x{number}", incarnation)

    class Flooded(FakeQueue):
        """Counts enough job messages, but of other projects."""

        def queued(self, queue_name: str, tenant: str = "") -> int:
            return 3 if tenant == PROJECT else 10_000

    queue, now = Flooded(), 0.0
    redelivery = Redelivery(world.database, queue, clock=lambda: now)
    assert await redelivery.sweep() == 0
    now = 10.0

    assert await redelivery.sweep() == 2

    assert [job_message.stream for job_message in queue.sent] == [f"execution:{PROJECT}:x{n}" for n in range(2)]
    assert {job_message.cause.correlation for job_message in queue.sent} == {META.correlation}

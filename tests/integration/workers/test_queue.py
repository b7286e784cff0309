"""Job messages from a sender to a dispatcher, through a real Valkey."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from annals.capacity.limiter import WorkerLimiter
from annals.workers.broker import JobMessageBroker, QueueUnavailable
from annals.workers.job_messages import BUILD_DEPLOYMENT, QUEUE_OF, RUN_EXECUTION, Cause, JobMessage
from annals.workers.worker_process import Dispatcher
from tests.integration.workers.valkey import UnhurriedBroker, Valkey, rung_to_its_end, until


class Worker:
    """A dispatcher that notes the streams it gets; `hold` keeps work in hand."""

    def __init__(self, url: str, slots: int, broker: type[JobMessageBroker] = JobMessageBroker) -> None:
        self.seen: list[str] = []
        self.most_at_once = 0
        self.hold = asyncio.Event()
        self.hold.set()
        self._at_once = 0
        limiters = {queue: WorkerLimiter(slots) for queue in ("executions", "builds", "chores")}
        self.dispatcher = Dispatcher(broker(url, limiters), {RUN_EXECUTION: self._work, BUILD_DEPLOYMENT: self._work})
        self.dispatcher.start()

    async def _work(self, stream: str, _cause: Cause) -> None:
        self.seen.append(stream)
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        await self.hold.wait()
        self._at_once -= 1


@pytest.fixture
async def worker_with(valkey: Valkey) -> AsyncIterator[Callable[[int], Worker]]:
    workers: list[Worker] = []

    def make(slots: int) -> Worker:
        workers.append(Worker(valkey.url, slots))
        return workers[-1]

    yield make
    for worker in workers:
        await worker.dispatcher.stop(0)


def executions(count: int) -> list[JobMessage]:
    return [JobMessage(RUN_EXECUTION, f"execution:p:{n}", Cause(n, "r")) for n in range(count)]


async def test_each_job_message_reaches_one_worker(valkey: Valkey, worker_with: Callable[[int], Worker]) -> None:
    first, second = worker_with(8), worker_with(8)

    JobMessageBroker(valkey.url).wake(executions(500))

    await until(lambda: len(first.seen) + len(second.seen) == 500)
    assert sorted(first.seen + second.seen) == sorted(w.stream for w in executions(500))
    assert first.most_at_once <= 8
    assert second.most_at_once <= 8


async def test_notification_starts_an_idle_worker(valkey: Valkey) -> None:
    worker, sender = Worker(valkey.url, 8, UnhurriedBroker), JobMessageBroker(valkey.url)
    for n in range(10):
        await asyncio.sleep(0.05)
        sender.wake([JobMessage(RUN_EXECUTION, f"execution:p:{n}", Cause(n, "r"))])
        await until(lambda n=n: len(worker.seen) == n + 1)  # type: ignore[misc]
    await rung_to_its_end(worker.dispatcher.stop(0), valkey.url)


async def test_full_worker_leaves_the_rest_to_others(valkey: Valkey, worker_with: Callable[[int], Worker]) -> None:
    full, sender = worker_with(2), JobMessageBroker(valkey.url)
    full.hold.clear()
    sender.wake(executions(5))
    await until(lambda: len(full.seen) == 2)
    assert sender.queued("executions", "p") == 3

    other = worker_with(8)

    await until(lambda: len(other.seen) == 3)
    full.hold.set()
    assert len(full.seen) == 2


async def test_full_queue_does_not_hold_up_another(valkey: Valkey, worker_with: Callable[[int], Worker]) -> None:
    worker, sender = worker_with(2), JobMessageBroker(valkey.url)
    worker.hold.clear()
    sender.wake([JobMessage(BUILD_DEPLOYMENT, f"deployment:p:{n}", Cause(n)) for n in range(4)])
    await until(lambda: len(worker.seen) == 2)

    sender.wake(executions(1))

    await until(lambda: "execution:p:0" in worker.seen)
    worker.hold.set()


async def test_job_messages_for_actors_of_a_later_version_take_no_slot(
    valkey: Valkey, worker_with: Callable[[int], Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("annals.workers.broker.QUEUE_OF", {**QUEUE_OF, "later": "executions", "later_build": "builds"})
    worker, sender = worker_with(2), JobMessageBroker(valkey.url)
    sender.wake([JobMessage("later", f"execution:p:later{n}", Cause(n)) for n in range(5)])
    sender.wake([JobMessage("later_build", f"deployment:p:later{n}", Cause(n)) for n in range(5)])

    sender.wake([*executions(3), JobMessage(BUILD_DEPLOYMENT, "deployment:p:0", Cause(9))])

    await until(lambda: len(worker.seen) == 4)
    await until(lambda: not any(worker.dispatcher.busy.values()))


async def test_stopping_worker_gives_back_unstarted_job_messages(
    valkey: Valkey, worker_with: Callable[[int], Worker]
) -> None:
    worker, sender = worker_with(3), JobMessageBroker(valkey.url)
    worker.hold.clear()
    sender.wake(executions(10))
    await until(lambda: len(worker.seen) == 3)

    await worker.dispatcher.stop(0)

    assert sender.queued("executions", "p") == 7


async def test_work_goes_on_after_the_queue_server_came_back_empty(worker_with: Callable[[int], Worker]) -> None:
    server = Valkey()
    server.start()
    worker = Worker(server.url, 4)
    sender = JobMessageBroker(server.url)
    try:
        sender.wake(executions(1))
        await until(lambda: len(worker.seen) == 1)
        server.stop()
        with pytest.raises(QueueUnavailable):
            sender.wake(executions(1))
        with pytest.raises(QueueUnavailable):
            sender.queued("executions", "p")
        server.start()

        sender.wake(executions(2))

        await until(lambda: len(worker.seen) == 3)
    finally:
        await worker.dispatcher.stop(0)
        server.close()

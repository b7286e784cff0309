"""The fair queue: the number of concurrent requests of a project, and the order in which requests start."""

import asyncio
import mmap
import random
from collections import Counter

import pytest

from annals.capacity.fair_queue import FairQueue
from annals.capacity.shared_memory import ACTIVITY_SECONDS, SIZE, TenantActivity
from annals.domain.errors import RateLimited

FEW = 3


class Host:
    """One process, maybe beside another; `running` counts requests that started and did not end."""

    def __init__(self, beside: "Host | None" = None, *, rest_seconds: float = 0.0) -> None:
        self.now = 1000.0
        self.memory: mmap.mmap = beside.memory if beside else mmap.mmap(-1, SIZE)
        self.tenant_activity = TenantActivity(self.memory, lambda: self.now, 2 if beside else 1)
        self.fair_queue = FairQueue(self.tenant_activity, FEW, rest_seconds)
        self.least = 1
        self.started: list[str] = []
        self.running: Counter[str] = Counter()
        self._ends: dict[str, asyncio.Event] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def wanted(self, arrived: dict[str, list[str]], project: str) -> int:
        """Return how many requests of a project did not end."""
        return sum(not self._ends[name].is_set() for name in arrived[project])

    async def arrive(self, project: str, *names: str, seconds: float | None = None) -> None:
        for name in names:
            self._ends[name] = asyncio.Event()
            self._tasks[name] = asyncio.create_task(self._work(project, name, seconds))
            await run_loop()

    async def _work(self, project: str, name: str, seconds: float | None) -> None:
        self.fair_queue.record_call(project)
        async with self.fair_queue.permit(project, seconds=seconds, least=self.least):
            self.started.append(name)
            self.running[project] += 1
            await self._ends[name].wait()
            self.running[project] -= 1

    async def end(self, *names: str) -> None:
        for name in names:
            self._ends[name].set()
            await run_loop()

    async def cancel(self, name: str) -> None:
        self._tasks[name].cancel()
        await run_loop()

    async def end_all(self) -> None:
        while self.running.total():
            await self.end(*self.started)
        await run_loop()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)


async def run_loop() -> None:
    for _ in range(4):
        await asyncio.sleep(0)


def names_of(project: str, count: int) -> list[str]:
    return [f"{project}{number}" for number in range(count)]


async def test_project_alone_on_its_host_starts_every_request() -> None:
    host = Host()
    await host.arrive("a", *names_of("a", 50))
    assert host.started == names_of("a", 50)
    await host.end_all()


async def test_project_with_many_requests_waits_in_order_while_another_starts_at_once() -> None:
    host = Host()
    host.tenant_activity.record_call("b")
    await host.arrive("a", *names_of("a", 10))
    await host.arrive("b", "b0")
    assert host.started == ["a0", "a1", "a2", "b0"]
    assert host.fair_queue.waiting == 7

    await host.end("a1", "a0")
    assert (host.running["a"], host.fair_queue.waiting) == (1, 7), "while the other wants one, it has one"

    await host.end("b0", "a2")
    assert host.started == ["a0", "a1", "a2", "b0", "a3", "a4", "a5"]
    await host.end_all()

    assert [name for name in host.started if name != "b0"] == names_of("a", 10)


async def test_requests_with_a_higher_least_number_start_beside_others_of_their_project() -> None:
    host = Host()
    await host.arrive("b", "b0")
    host.least = 4
    await host.arrive("a", *names_of("a", 10))
    assert host.running["a"] == 4

    host.least = 1
    await host.arrive("a", "much")
    await host.end(*names_of("a", 10))
    assert host.started[-1] == "much"
    await host.end_all()


async def test_project_pauses_after_a_request_for_its_duration() -> None:
    host = Host(rest_seconds=60.0)
    loop = asyncio.get_running_loop()
    await host.arrive("b", "b0")
    began = loop.time()
    await host.arrive("a", *names_of("a", 2))
    await asyncio.sleep(0.2)
    await host.end("a0")
    worked = loop.time() - began
    assert host.started == ["b0", "a0"]

    while host.started[-1] != "a1":
        await asyncio.sleep(0.01)
    assert loop.time() - began >= 2 * worked * 0.9
    await host.end_all()


async def test_project_does_not_pause_without_waiting_requests_of_others() -> None:
    host = Host(rest_seconds=60.0)
    host.tenant_activity.record_call("b")
    await host.arrive("a", *names_of("a", FEW + 1))
    await asyncio.sleep(0.05)
    await host.end("a0")

    assert host.started == names_of("a", FEW + 1)
    await host.end_all()


async def test_requests_that_started_before_another_project_called_go_on() -> None:
    host = Host()
    await host.arrive("a", *names_of("a", 6))
    await host.arrive("b", "b0")
    await host.arrive("a", "late")
    await host.end(*names_of("a", 5))
    assert "late" not in host.started

    await host.end("a5")

    assert host.started[-1] == "late"
    await host.end_all()


async def test_all_waiting_requests_start_once_the_project_is_alone_again() -> None:
    host = Host()
    host.tenant_activity.record_call("b")
    await host.arrive("a", *names_of("a", 20))
    assert len(host.started) == FEW

    host.now += ACTIVITY_SECONDS * 2
    await host.end("a0")

    assert host.started == names_of("a", 20)
    await host.end_all()


async def test_request_that_waits_too_long_is_rate_limited() -> None:
    host = Host()
    host.tenant_activity.record_call("b")
    await host.arrive("a", *names_of("a", FEW))

    with pytest.raises(RateLimited) as error:
        async with host.fair_queue.permit("a", seconds=0.01):
            pass

    assert error.value.retry_after == 1
    assert host.fair_queue.waiting == 0
    await host.arrive("a", "next")
    await host.end("a0")
    assert host.started[-1] == "next"
    await host.end_all()


async def test_canceled_waiting_request_never_starts() -> None:
    host = Host()
    host.tenant_activity.record_call("b")
    await host.arrive("a", *names_of("a", FEW), "gone", "next")
    await host.cancel("gone")

    await host.end("a0")

    assert host.started == [*names_of("a", FEW), "next"]
    await host.end_all()


async def test_request_that_is_canceled_as_it_starts_lets_the_next_request_start() -> None:
    host = Host()
    host.tenant_activity.record_call("b")
    await host.arrive("a", *names_of("a", FEW), "gone", "next")

    host._ends["a0"].set()
    host._tasks["gone"].cancel()  # told of both in the same turn of the loop
    await run_loop()

    assert host.started == [*names_of("a", FEW), "next"]
    await host.end_all()


async def test_permit_that_ended_before_its_block_does_not_end_twice() -> None:
    host = Host()
    host.tenant_activity.record_call("b")
    async with host.fair_queue.permit("a") as permit:
        permit.end()
        permit.end()
        await host.arrive("a", *names_of("a", FEW + 1))
        assert len(host.started) == FEW
    assert len(host.started) == FEW
    await host.end_all()


async def test_project_runs_as_many_requests_as_all_others_have_together() -> None:
    host = Host()
    await host.arrive("b", *names_of("b", 4))
    await host.arrive("a", *names_of("a", 20))
    assert host.running == {"b": 4, "a": 4}

    await host.arrive("c", "c0")
    await host.end("a0")
    assert host.running == {"b": 4, "a": 5, "c": 1}

    await host.end(*names_of("b", 4), "c0", "a1", "a2", "a3")
    assert host.running["a"] == FEW
    await host.end_all()


async def test_share_is_counted_over_the_processes_of_a_host_and_each_runs_one() -> None:
    one = Host()
    other = Host(beside=one)
    await one.arrive("b", *names_of("b", 4))
    await one.arrive("a", *names_of("a", 5))
    await other.arrive("a", *names_of("a", 10))
    assert (one.running["a"], other.running["a"]) == (4, 1)

    await one.end("a0", "a1", "a2", "a3")
    await other.end("a0")
    assert (one.running["a"], other.running["a"]) == (1, 3)

    await one.end("a4")
    await one.arrive("a", "late")
    assert one.started[-1] == "late"
    await one.end_all()
    await other.end_all()


async def test_projects_with_equal_demand_do_not_slow_each_other_across_processes() -> None:
    one = Host()
    other = Host(beside=one)
    for number in range(30):
        await one.arrive("a", f"a{number}")
        await other.arrive("b", f"b{number}")
    await one.end("a0")
    await other.end("b0")

    assert (one.running["a"], other.running["b"]) == (29, 29)
    await one.end_all()
    await other.end_all()


@pytest.mark.parametrize("seed", range(20))
async def test_least_demanding_project_starts_at_once_and_each_keeps_its_order(seed: int) -> None:
    """A project starts no more requests than others want, or `FEW`: with no more requests it never waits."""
    chance, host, arrived = random.Random(seed), Host(), dict[str, list[str]](a=[], b=[], c=[])
    host.tenant_activity.record_call("a")
    host.tenant_activity.record_call("b")
    for number in range(300):
        project = chance.choices("abc", (20, 3, 1))[0]
        others = sum(host.wanted(arrived, other) for other in arrived if other != project)
        if chance.random() < 0.6:
            started, running = len(host.started), host.running[project]
            may_start = not running or running < (others or FEW)
            waits = host.running[project] < host.wanted(arrived, project)
            arrived[project].append(f"{project}{number}")
            await host.arrive(project, arrived[project][-1])
            assert (len(host.started) > started) == (may_start and not waits)
        elif host.started:
            await host.end(chance.choice(host.started))
    await host.end_all()
    assert host.fair_queue.waiting == 0
    for project, names in arrived.items():
        assert [name for name in host.started if name.startswith(project)] == names

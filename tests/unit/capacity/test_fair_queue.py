"""How many of a project's calls are at work at once: as many as it wants alone, few in company."""

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
    """One process, maybe beside another; `at_work` are fair_queue that have begun and not ended."""

    def __init__(self, beside: "Host | None" = None, *, rest_seconds: float = 0.0) -> None:
        self.now = 1000.0
        self.memory: mmap.mmap = beside.memory if beside else mmap.mmap(-1, SIZE)
        self.tenant_activity = TenantActivity(self.memory, lambda: self.now, 2 if beside else 1)
        self.fair_queue = FairQueue(self.tenant_activity, FEW, rest_seconds)
        self.least = 1
        self.begun: list[str] = []
        self.at_work: Counter[str] = Counter()
        self._ends: dict[str, asyncio.Event] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def wanted(self, came: dict[str, list[str]], project: str) -> int:
        """Of those that came, how many have not ended."""
        return sum(not self._ends[name].is_set() for name in came[project])

    async def come(self, project: str, *names: str, seconds: float | None = None) -> None:
        for name in names:
            self._ends[name] = asyncio.Event()
            self._tasks[name] = asyncio.create_task(self._work(project, name, seconds))
            await settled()

    async def _work(self, project: str, name: str, seconds: float | None) -> None:
        self.fair_queue.record_call(project)
        async with self.fair_queue.permit(project, seconds=seconds, least=self.least):
            self.begun.append(name)
            self.at_work[project] += 1
            await self._ends[name].wait()
            self.at_work[project] -= 1

    async def end(self, *names: str) -> None:
        for name in names:
            self._ends[name].set()
            await settled()

    async def cancel(self, name: str) -> None:
        self._tasks[name].cancel()
        await settled()

    async def all_end(self) -> None:
        while self.at_work.total():
            await self.end(*self.begun)
        await settled()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)


async def settled() -> None:
    for _ in range(4):
        await asyncio.sleep(0)


def crowd(project: str, count: int) -> list[str]:
    return [f"{project}{number}" for number in range(count)]


async def test_a_project_alone_has_as_many_as_it_wants() -> None:
    host = Host()
    await host.come("a", *crowd("a", 50))
    assert host.begun == crowd("a", 50)
    await host.all_end()


async def test_in_company_it_has_few_and_the_rest_in_order_while_the_other_begins_at_once() -> None:
    host = Host()
    host.tenant_activity.record_call("b")
    await host.come("a", *crowd("a", 10))
    await host.come("b", "b0")
    assert host.begun == ["a0", "a1", "a2", "b0"]
    assert host.fair_queue.waiting == 7

    await host.end("a1", "a0")
    assert (host.at_work["a"], host.fair_queue.waiting) == (1, 7), "while the other wants one, it has one"

    await host.end("b0", "a2")
    assert host.begun == ["a0", "a1", "a2", "b0", "a3", "a4", "a5"]
    await host.all_end()

    assert [name for name in host.begun if name != "b0"] == crowd("a", 10)


async def test_what_little_work_is_begins_beside_more_of_its_own_in_any_company() -> None:
    host = Host()
    await host.come("b", "b0")
    host.least = 4
    await host.come("a", *crowd("a", 10))
    assert host.at_work["a"] == 4

    host.least = 1
    await host.come("a", "much")
    await host.end(*crowd("a", 10))
    assert host.begun[-1] == "much"
    await host.all_end()


async def test_while_others_want_something_who_has_more_to_do_rests_for_as_long_as_it_worked() -> None:
    host = Host(rest_seconds=60.0)
    loop = asyncio.get_running_loop()
    await host.come("b", "b0")
    began = loop.time()
    await host.come("a", *crowd("a", 2))
    await asyncio.sleep(0.2)
    await host.end("a0")
    worked = loop.time() - began
    assert host.begun == ["b0", "a0"]

    while host.begun[-1] != "a1":
        await asyncio.sleep(0.01)
    assert loop.time() - began >= 2 * worked * 0.9
    await host.all_end()


async def test_nobody_rests_for_others_that_want_nothing() -> None:
    host = Host(rest_seconds=60.0)
    host.tenant_activity.record_call("b")
    await host.come("a", *crowd("a", FEW + 1))
    await asyncio.sleep(0.05)
    await host.end("a0")

    assert host.begun == crowd("a", FEW + 1)
    await host.all_end()


async def test_what_began_alone_goes_on_and_no_more_begin_until_few_are_left() -> None:
    host = Host()
    await host.come("a", *crowd("a", 6))
    await host.come("b", "b0")
    await host.come("a", "late")
    await host.end(*crowd("a", 5))
    assert "late" not in host.begun

    await host.end("a5")

    assert host.begun[-1] == "late"
    await host.all_end()


async def test_once_it_is_alone_again_all_that_wait_begin() -> None:
    host = Host()
    host.tenant_activity.record_call("b")
    await host.come("a", *crowd("a", 20))
    assert len(host.begun) == FEW

    host.now += ACTIVITY_SECONDS * 2
    await host.end("a0")

    assert host.begun == crowd("a", 20)
    await host.all_end()


async def test_work_that_can_be_refused_is_when_it_waits_too_long() -> None:
    host = Host()
    host.tenant_activity.record_call("b")
    await host.come("a", *crowd("a", FEW))

    with pytest.raises(RateLimited) as refused:
        async with host.fair_queue.permit("a", seconds=0.01):
            pass

    assert refused.value.retry_after == 1
    assert host.fair_queue.waiting == 0
    await host.come("a", "next")
    await host.end("a0")
    assert host.begun[-1] == "next"
    await host.all_end()


async def test_one_that_is_canceled_while_it_waits_takes_no_turn() -> None:
    host = Host()
    host.tenant_activity.record_call("b")
    await host.come("a", *crowd("a", FEW), "gone", "next")
    await host.cancel("gone")

    await host.end("a0")

    assert host.begun == [*crowd("a", FEW), "next"]
    await host.all_end()


async def test_a_turn_that_comes_in_the_moment_of_a_cancel_goes_to_the_next() -> None:
    host = Host()
    host.tenant_activity.record_call("b")
    await host.come("a", *crowd("a", FEW), "gone", "next")

    host._ends["a0"].set()
    host._tasks["gone"].cancel()  # told of both in the same turn of the loop
    await settled()

    assert host.begun == [*crowd("a", FEW), "next"]
    await host.all_end()


async def test_a_stint_that_ended_before_its_block_does_not_end_twice() -> None:
    host = Host()
    host.tenant_activity.record_call("b")
    async with host.fair_queue.permit("a") as permit:
        permit.end()
        permit.end()
        await host.come("a", *crowd("a", FEW + 1))
        assert len(host.begun) == FEW
    assert len(host.begun) == FEW
    await host.all_end()


async def test_it_may_have_as_many_as_the_others_want_together() -> None:
    host = Host()
    await host.come("b", *crowd("b", 4))
    await host.come("a", *crowd("a", 20))
    assert host.at_work == {"b": 4, "a": 4}

    await host.come("c", "c0")
    await host.end("a0")
    assert host.at_work == {"b": 4, "a": 5, "c": 1}

    await host.end(*crowd("b", 4), "c0", "a1", "a2", "a3")
    assert host.at_work["a"] == FEW
    await host.all_end()


async def test_what_it_may_have_is_counted_over_the_processes_of_the_host_and_one_is_had_in_each() -> None:
    one = Host()
    other = Host(beside=one)
    await one.come("b", *crowd("b", 4))
    await one.come("a", *crowd("a", 5))
    await other.come("a", *crowd("a", 10))
    assert (one.at_work["a"], other.at_work["a"]) == (4, 1)

    await one.end("a0", "a1", "a2", "a3")
    await other.end("a0")
    assert (one.at_work["a"], other.at_work["a"]) == (1, 3)

    await one.end("a4")
    await one.come("a", "late")
    assert one.begun[-1] == "late"
    await one.all_end()
    await other.all_end()


async def test_two_that_want_much_hold_each_other_back_in_nothing_through_whichever_process_they_call() -> None:
    one = Host()
    other = Host(beside=one)
    for number in range(30):
        await one.come("a", f"a{number}")
        await other.come("b", f"b{number}")
    await one.end("a0")
    await other.end("b0")

    assert (one.at_work["a"], other.at_work["b"]) == (29, 29)
    await one.all_end()
    await other.all_end()


@pytest.mark.parametrize("seed", range(20))
async def test_whatever_comes_and_goes_who_wants_least_begins_at_once_and_all_begin_in_their_order(seed: int) -> None:
    """Of a project, no more begin than others want, or `FEW`: one that wants no more never waits."""
    chance, host, came = random.Random(seed), Host(), dict[str, list[str]](a=[], b=[], c=[])
    host.tenant_activity.record_call("a")
    host.tenant_activity.record_call("b")
    for number in range(300):
        project = chance.choices("abc", (20, 3, 1))[0]
        others = sum(host.wanted(came, other) for other in came if other != project)
        if chance.random() < 0.6:
            begun, at_work = len(host.begun), host.at_work[project]
            had_room = not at_work or at_work < (others or FEW)
            waits = host.at_work[project] < host.wanted(came, project)
            came[project].append(f"{project}{number}")
            await host.come(project, came[project][-1])
            assert (len(host.begun) > begun) == (had_room and not waits)
        elif host.begun:
            await host.end(chance.choice(host.begun))
    await host.all_end()
    assert host.fair_queue.waiting == 0
    for project, names in came.items():
        assert [name for name in host.begun if name.startswith(project)] == names

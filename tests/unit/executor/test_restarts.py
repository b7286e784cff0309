"""A project's instances that ended by themselves are replaced at a bounded rate; all others start at once."""

import asyncio
import time

import pytest

from annals.executor.drivers.port import Exit
from annals.executor.pool import restarts
from annals.executor.pool.group import Key
from annals.executor.pool.restarts import Restarts
from tests.unit.executor.drivers import Host, WorkerLimiter, hello, host, until

__all__ = ["host"]

A, SIBLING, OTHER = (("a", "d", "v"), ("a", "d2", "v"), ("b", "d", "v"))


class Clock:
    now = 50.0

    def __call__(self) -> float:
        return self.now


def crashed(known: Restarts, key: Key, times: int) -> list[float]:
    waits = [known.count(key) for _ in range(times)]
    assert waits[-1] == known.wait(key)
    return waits


def test_first_crashes_of_a_project_delay_nothing_and_later_ones_wait_longer_each_time() -> None:
    assert crashed(Restarts(Clock()), A, 13) == pytest.approx([0.0] * 10 + [1.0, 2.0, 3.0])


def test_functions_of_a_project_that_crash_share_its_rate() -> None:
    known = Restarts(Clock())
    crashed(known, A, 12)

    assert crashed(known, SIBLING, 1) == pytest.approx([3.0])


def test_functions_that_did_not_crash_start_at_once() -> None:
    known = Restarts(Clock())
    crashed(known, A, 20)

    assert known.wait(SIBLING) == 0
    assert crashed(known, OTHER, 1) == [0.0]


def test_crashes_are_forgotten_with_time() -> None:
    clock = Clock()
    known = Restarts(clock)
    crashed(known, A, 20)
    clock.now += 10.0
    assert known.wait(A) == 0
    clock.now += 10.0
    known.count(OTHER)

    assert len(known) == 1
    assert crashed(known, A, 10) == [0.0] * 10


async def test_calls_of_a_function_that_crashes_wait_for_its_restart_and_others_do_not(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restarts, "BURST_SECONDS", 1.0)
    limiter = WorkerLimiter()
    for number in range(2):
        host.driver.answer = limiter.answer
        call = asyncio.create_task(host.call())
        await until(lambda: limiter.waiting == 1)
        host.driver.started[number].end(Exit(137, out_of_memory=True))
        assert (await call).reason == "out_of_memory"
        limiter.waiting = 0
    host.driver.answer = hello
    crashed_at = time.monotonic()
    late = asyncio.create_task(host.call())
    assert (await host.call(project="other", deployment="other")).reason == ""
    assert not late.done()

    outcome = await late

    assert (outcome.reason, outcome.cold) == ("", True)
    assert time.monotonic() - crashed_at >= 0.5


def test_restarts_after_filled_memory_cost_more() -> None:
    known = Restarts(Clock())

    assert [known.count(A, filled_mb=512) for _ in range(5)] == pytest.approx([0.0, 0.0, 0.0, 2.0, 5.0])
    assert known.count(SIBLING) == pytest.approx(6.0)


def test_restart_costs_no_more_than_after_one_filled_gigabyte() -> None:
    known, other = Restarts(Clock()), Restarts(Clock())

    assert [known.count(A, filled_mb=1024) for _ in range(4)] == pytest.approx([0.0, 0.0, 5.0, 10.0])
    assert [other.count(A, filled_mb=1_000_000) for _ in range(4)] == pytest.approx([0.0, 0.0, 5.0, 10.0])


def test_rate_can_be_counted_by_deployment() -> None:
    known = Restarts(Clock(), by_deployment=True)
    crashed(known, A, 12)

    assert crashed(known, SIBLING, 1) == [0.0]


def test_function_that_filled_its_memory_is_suspected_for_a_minute_or_until_it_answers() -> None:
    clock = Clock()
    known = Restarts(clock)
    known.count(A)
    known.count(SIBLING, filled_mb=64)
    assert (known.suspected(A), known.suspected(SIBLING)) == (False, True)

    clock.now += 59.0
    assert known.suspected(SIBLING)
    clock.now += 2.0
    assert not known.suspected(SIBLING)

    known.count(A, filled_mb=64)
    known.trust(A)
    assert not known.suspected(A)


async def test_function_that_filled_its_memory_gets_left_processor_time_until_it_answers(host: Host) -> None:
    limiter = WorkerLimiter()
    host.driver.answer = limiter.answer
    call = asyncio.create_task(host.call())
    await until(lambda: limiter.waiting == 1)
    assert not host.driver.started[0].deferred
    host.driver.started[0].end(Exit(137, out_of_memory=True))
    assert (await call).reason == "out_of_memory"

    again = asyncio.create_task(host.call())
    await until(lambda: len(host.driver.started) == 2 and limiter.waiting == 2)
    assert host.driver.started[1].deferred
    limiter.go.set()
    assert (await again).reason == ""

    assert not host.driver.started[1].deferred

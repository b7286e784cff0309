"""The number of instances of a function depends on their concurrency, the queue, the policy and idle times."""

import asyncio
import time

import pytest

from annals.executor.pool import pool
from tests.unit.executor.drivers import Host, WorkerLimiter, host, run, until

__all__ = ["host"]


ALONE = b"HTTP/1.1 200 OK\r\nx-open-runtimes-concurrency: 1\r\ncontent-length: 5\r\n\r\nhello"


async def test_server_that_announces_a_limit_first_gets_a_single_request(host: Host) -> None:
    limiter = WorkerLimiter()
    host.driver.answer, host.driver.announces = limiter.answer, True
    await host.remake(instances_per_function=1)
    calls = [asyncio.create_task(host.call(execution=f"e{n}")) for n in range(5)]
    await until(lambda: limiter.waiting == 1)
    await asyncio.sleep(0.1)
    assert limiter.waiting == 1
    limiter.go.set()
    assert {(await call).reason for call in calls} == {""}

    limiter.go.clear()
    calls = [asyncio.create_task(host.call(execution=f"f{n}")) for n in range(5)]
    await until(lambda: limiter.waiting == 5)
    limiter.go.set()
    assert {(await call).reason for call in calls} == {""}


async def test_server_that_takes_one_request_at_a_time_is_never_given_two(host: Host) -> None:
    at_once = {"now": 0, "most": 0}

    async def answer(_: bytes) -> bytes:
        at_once["now"] += 1
        at_once["most"] = max(at_once.values())
        await asyncio.sleep(0.002)
        at_once["now"] -= 1
        return ALONE

    host.driver.answer, host.driver.announces = answer, True
    await host.remake(instances_per_function=1)
    outcomes = await asyncio.gather(*(host.call(execution=f"e{n}") for n in range(30)))

    assert {outcome.reason for outcome in outcomes} == {""}
    assert at_once["most"] == 1


async def test_queue_that_moves_gets_no_more_instances(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """The age of the queue does not count, only how long its first call has waited, at any time of a sweep."""
    monkeypatch.setattr(pool, "HESITATE_SECONDS", 60.0)

    async def answer(_: bytes) -> bytes:
        for key, group in host.pool._groups.items():
            host.pool._add_one(key, group)
        return ALONE

    host.driver.answer, host.driver.announces = answer, True
    for round_ in range(10):
        await asyncio.gather(*(host.call(execution=f"e{round_}-{n}") for n in range(10)))

    assert len(host.driver.started) == 1


async def test_slow_serial_calls_spread_over_all_instances_of_a_function(host: Host) -> None:
    limiter = WorkerLimiter()
    host.driver.answer, host.driver.announces = limiter.answer, True
    calls = [asyncio.create_task(host.call(execution=f"e{n}", max_instances=3)) for n in range(6)]
    await until(lambda: limiter.waiting == 3)
    await asyncio.sleep(0.2)

    assert len(host.driver.started) == 3
    limiter.go.set()
    assert {(await call).reason for call in calls} == {""}


async def test_instances_are_ready_before_they_are_called_and_kept_for_as_long_as_was_asked(host: Host) -> None:
    await host.remake(idle_seconds=0.0)
    assert host.pool.prewarm(run(), 2, 60.0) == 2
    await until(lambda: host.pool.describe()["instances"] == 2)
    await asyncio.sleep(1.2)

    assert host.pool.describe()["instances"] == 2
    assert not (await host.call()).cold
    assert host.pool.prewarm(run(), 0, 0.0) == 2
    await until(lambda: host.pool.describe()["instances"] == 0)


async def test_idle_seconds_of_a_function_override_the_default(host: Host) -> None:
    await host.remake(idle_seconds=60.0)
    assert (await host.call(idle_seconds=0.1)).reason == ""

    await until(lambda: host.driver.started[0].killed)


async def test_no_call_meets_the_end_of_an_idle_instance(host: Host) -> None:
    """With idle times of 0, every sweep of the pool races with calls that begin and end."""
    await host.remake(idle_seconds=0.0)
    stop = asyncio.Event()

    async def sweep() -> None:
        while not stop.is_set():
            host.pool._sweep(time.monotonic() + 1)
            await asyncio.sleep(0)

    async def caller(name: int) -> list[str]:
        reasons: list[str] = []
        for n in range(30):
            reasons.append((await host.call(execution=f"e{name}-{n}")).reason)
            await asyncio.sleep(0.001 * (n % 3))
        return reasons

    sweeping = asyncio.create_task(sweep())
    reasons = [reason for each in await asyncio.gather(*map(caller, range(6))) for reason in each]
    stop.set()
    await sweeping

    assert reasons == [""] * 180
    assert any(sandbox.killed for sandbox in host.driver.started)

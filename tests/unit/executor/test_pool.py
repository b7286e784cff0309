"""Instances are started as rarely as possible, shared, kept while they work, and ended for a reason."""

import asyncio

import pytest

from annals.executor.drivers.port import Exit
from annals.executor.errors import StartFailed
from annals.executor.pool import runner
from tests.unit.executor.drivers import Host, WorkerLimiter, hello, host, until

__all__ = ["host"]


async def test_second_call_finds_the_first_ones_instance(host: Host) -> None:
    first, second = await host.call(), await host.call()

    assert (first.cold, second.cold) == (True, False)
    assert first.instance == second.instance
    assert (first.status_code, first.body, first.reason, first.host) == (200, b"hello", "", "host")


async def test_fifty_first_calls_at_once_start_one_instance(host: Host) -> None:
    host.driver.start_seconds = 0.05
    outcomes = await asyncio.gather(*(host.call(execution=f"e{n}") for n in range(50)))

    assert {outcome.reason for outcome in outcomes} == {""}
    assert len(host.driver.started) == 1


async def test_failed_start_fails_all_waiting_calls_and_the_next_call_starts_again(host: Host) -> None:
    host.driver.fault = StartFailed("It exploded.\nlast line")
    outcomes = await asyncio.gather(*(host.call(execution=f"e{n}") for n in range(5)))
    host.driver.fault = None

    assert {(o.reason, o.message) for o in outcomes} == {("start_failed", "It exploded.\nlast line")}
    assert (await host.call()).reason == ""


async def test_queue_that_lasts_gets_one_more_instance_up_to_the_bound(host: Host) -> None:
    limiter = WorkerLimiter()
    host.driver.answer, host.driver.concurrency = limiter.answer, 1
    await host.remake(instances_per_function=2)
    calls = [asyncio.create_task(host.call(execution=f"e{n}")) for n in range(5)]
    await until(lambda: limiter.waiting == 2)
    await asyncio.sleep(0.2)

    assert len(host.driver.started) == 2
    limiter.go.set()
    outcomes = await asyncio.gather(*calls)
    assert {outcome.reason for outcome in outcomes} == {""}
    assert max(outcome.queue_seconds + outcome.start_seconds for outcome in outcomes) > 0.1


async def test_call_that_waits_too_long_fails_with_the_reason(host: Host) -> None:
    limiter = WorkerLimiter()
    host.driver.answer, host.driver.concurrency = limiter.answer, 1
    await host.remake(instances_per_function=1)
    busy = asyncio.create_task(host.call())
    await until(lambda: limiter.waiting == 1)
    late = await host.call(execution="e2", start_seconds=0.1)
    limiter.go.set()

    assert late.reason == "start_failed"
    assert "within 0.1 seconds" in late.message
    assert (await busy).reason == ""


async def test_another_environment_gets_an_instance_of_its_own_and_the_old_one_ends(host: Host) -> None:
    first = await host.call()
    second = await host.call(environment_digest="v2")

    assert first.instance != second.instance
    await until(lambda: host.driver.started[0].killed)
    assert not host.driver.started[1].killed


async def test_instance_at_work_is_not_idle(host: Host) -> None:
    limiter = WorkerLimiter()
    host.driver.answer = limiter.answer
    await host.remake(idle_seconds=0.0)
    call = asyncio.create_task(host.call())
    await until(lambda: limiter.waiting == 1)
    await asyncio.sleep(1.2)

    assert not host.driver.started[0].killed
    limiter.go.set()
    assert (await call).reason == ""
    await until(lambda: host.driver.started[0].killed)


async def test_full_host_ends_the_instance_that_was_idle_longest(host: Host) -> None:
    for n in range(5):
        assert (await host.call(deployment=f"d{n}")).reason == ""

    await until(lambda: host.driver.started[0].killed)
    assert [sandbox.killed for sandbox in host.driver.started] == [True, False, False, False, False]


async def test_call_waits_on_a_full_host_whose_instances_all_work(host: Host) -> None:
    limiter = WorkerLimiter()
    host.driver.answer = limiter.answer
    busy = [asyncio.create_task(host.call(deployment=f"d{n}")) for n in range(4)]
    await until(lambda: limiter.waiting == 4)
    late = asyncio.create_task(host.call(deployment="d9"))
    await asyncio.sleep(0.1)
    limiter.go.set()

    assert {(await call).reason for call in (*busy, late)} == {""}


async def test_deadline_kills_the_instance_and_is_a_timeout(host: Host) -> None:
    host.driver.answer = WorkerLimiter().answer
    outcome = await host.call(run_seconds=0.1)

    assert (outcome.reason, outcome.status_code, outcome.message) == ("timeout", 500, runner.timed_out(0.1))
    assert outcome.message == "Execution timed out. It had no end within its timeout of 0.1 s."
    await until(lambda: host.driver.started[0].killed)


@pytest.mark.parametrize("logging", [False, True], ids=["without a log", "with its line kept from the log"])
async def test_code_that_its_server_gave_up_at_the_deadline_takes_no_further_call(host: Host, logging: bool) -> None:
    async def late(_: bytes) -> bytes:
        await asyncio.sleep(0.2)
        return b"HTTP/1.1 500 Late\r\ncontent-length: 0\r\n\r\n"

    host.driver.answer = late
    assert (await host.call(run_seconds=0.1, logging=logging)).reason == "timeout"
    host.driver.answer = hello

    assert (await host.call()).cold
    await until(lambda: host.driver.started[0].killed)


async def test_requests_on_a_retired_instance_may_finish_within_the_grace(host: Host) -> None:
    limiter = WorkerLimiter()
    host.driver.answer = limiter.answer
    await host.remake(grace_seconds=60.0)
    host.runner._grace = 0.0  # that of the late one, which is no part of this
    other = asyncio.create_task(host.call(execution="other", run_seconds=60))
    await until(lambda: limiter.waiting == 1)
    late = asyncio.create_task(host.call(execution="late", run_seconds=0.01))
    assert (await late).reason == "timeout"
    limiter.go.set()

    assert (await other).reason == ""
    await until(lambda: host.driver.started[0].killed)


@pytest.mark.parametrize(
    ("end", "reason", "words"),
    [
        (Exit(3), "crashed", "exited with code 3."),
        (Exit(139), "crashed", "exited with code 139 (SIGSEGV)."),
        (Exit(137, out_of_memory=True), "out_of_memory", "64 MB"),
        (Exit(-9, breach="pids"), "crashed", "limit on pids"),
    ],
)
async def test_instance_that_dies_under_a_call_gives_its_reason(host: Host, end: Exit, reason: str, words: str) -> None:
    limiter = WorkerLimiter()
    host.driver.answer = limiter.answer
    call = asyncio.create_task(host.call())
    await until(lambda: limiter.waiting == 1)
    host.driver.started[0].end(end)
    outcome = await call

    assert outcome.reason == reason
    assert words in outcome.message
    host.driver.answer = hello
    assert (await host.call()).cold


async def test_slowly_ending_instance_still_reports_its_reason(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """An instance with much memory in files closes its connections long before the kernel has freed that memory."""
    monkeypatch.setattr(runner, "EXIT_SECONDS", 0.05)
    limiter = WorkerLimiter()
    host.driver.answer = limiter.answer
    call = asyncio.create_task(host.call())
    await until(lambda: limiter.waiting == 1)
    host.driver.started[0].last = Exit(137, out_of_memory=True)
    host.driver.started[0].hang_up()

    assert (await call).reason == "out_of_memory"


async def test_cancelled_execution_kills_its_instance(host: Host) -> None:
    limiter = WorkerLimiter()
    host.driver.answer = limiter.answer
    call = asyncio.create_task(host.call())
    await until(lambda: limiter.waiting == 1)
    call.cancel()

    assert (await call).reason == "canceled"
    await until(lambda: host.driver.started[0].killed)


async def test_cancelled_waiting_call_leaves_its_slot_to_the_next(host: Host) -> None:
    limiter = WorkerLimiter()
    host.driver.answer, host.driver.concurrency = limiter.answer, 1
    await host.remake(instances_per_function=1)
    calls = [asyncio.create_task(host.call(execution=f"e{n}")) for n in range(3)]
    await until(lambda: limiter.waiting == 1)
    calls[1].cancel()
    limiter.go.set()

    assert (await calls[0]).reason == ""
    assert (await calls[2]).reason == ""


async def test_retiring_a_deployment_lets_it_finish_then_ends_it_and_drops_its_code(host: Host) -> None:
    limiter = WorkerLimiter()
    host.driver.answer = limiter.answer
    call = asyncio.create_task(host.call())
    await until(lambda: limiter.waiting == 1)
    await host.pool.retire_deployment("p", "d1")
    limiter.go.set()

    assert (await call).reason == ""
    await until(lambda: host.driver.started[0].killed)
    assert host.code.dropped == ["0" * 64]


async def test_control_headers_never_cross(host: Host) -> None:
    heads: list[bytes] = []

    async def answer(head: bytes) -> bytes:
        heads.append(head.lower())
        return b"HTTP/1.1 200 OK\r\nX-Open-Runtimes-Log-Id: secret\r\nx-own: 1\r\ncontent-length: 0\r\n\r\n"

    host.driver.answer = answer
    outcome = await host.call(
        headers=[("X-Open-Runtimes-Secret", "forged"), ("x-mine", "yes"), ("connection", "close")]
    )

    assert outcome.headers == [("x-own", "1"), ("content-length", "0")]
    assert b"forged" not in heads[0]
    assert b"connection: close" not in heads[0]
    assert b"x-mine: yes" in heads[0]
    assert heads[0].count(b"x-open-runtimes-secret:") == 1


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("a b", b"get /a%20b http"),
        ("/x?q=%20+&r", b"get /x?q=%20+&r http"),
        ("/é", b"get /%c3%a9 http"),
        ("", b"get / http"),
    ],
)
async def test_paths_arrive_as_sent_but_never_break_the_line(host: Host, path: str, line: bytes) -> None:
    heads: list[bytes] = []

    async def answer(head: bytes) -> bytes:
        heads.append(head.lower())
        return await hello(head)

    host.driver.answer = answer
    await host.call(path=path)

    assert heads[0].startswith(line)

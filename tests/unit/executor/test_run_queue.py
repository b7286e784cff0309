"""The queue of runs: bounds of host, project and function, and the order in which runs start."""

import asyncio

import pytest

from annals.domain.ports import Run
from annals.executor.pool.run_queue import QueueTimeout, RunQueue
from tests.unit.executor import drivers


def run(name: str, project: str = "p", function: str = "f", *, concurrency: int = 0, seconds: float = 5.0) -> Run:
    return drivers.run(
        project=project, function=function, execution=name, concurrency=concurrency, queue_seconds=seconds
    )


class Line:
    """A queue; `began` names the runs in the order in which they started."""

    def __init__(self, most: int = 100, most_of_project: int = 100) -> None:
        self.queue = RunQueue(most, most_of_project)
        self.began: list[str] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def arrive(self, *runs: Run) -> None:
        for one in runs:
            self._tasks.append(asyncio.create_task(self._start(one)))
            await asyncio.sleep(0)
        await asyncio.sleep(0)

    async def _start(self, one: Run) -> None:
        await self.queue.start(one)
        self.began.append(one.execution)

    async def end(self, *runs: Run) -> None:
        for one in runs:
            self.queue.end(one)
            await asyncio.sleep(0)
            await asyncio.sleep(0)


async def test_host_at_its_limit_starts_waiting_runs_in_order() -> None:
    line, runs = Line(most=2), [run(f"x{n}") for n in range(5)]
    await line.arrive(*runs)
    assert (line.began, line.queue.waiting) == (["x0", "x1"], 3)

    await line.end(runs[0])
    assert line.began == ["x0", "x1", "x2"]
    await line.end(runs[1], runs[2])

    assert line.began == ["x0", "x1", "x2", "x3", "x4"]


async def test_function_at_its_limit_delays_only_its_own_runs() -> None:
    line = Line()
    mine = [run(f"m{n}", concurrency=1) for n in range(3)]
    await line.arrive(*mine, run("other", function="g"))
    assert line.began == ["m0", "other"]

    await line.end(mine[0])

    assert line.began == ["m0", "other", "m1"]


async def test_project_at_its_limit_leaves_slots_to_others() -> None:
    line = Line(most=4, most_of_project=3)
    await line.arrive(*(run(f"a{n}", "a") for n in range(50)), run("b0", "b"))
    assert line.began == ["a0", "a1", "a2", "b0"]


async def test_projects_take_turns_if_all_slots_are_taken() -> None:
    line = Line(most=1)
    first = run("a0", "a")
    runs = [*(run(f"a{n}", "a") for n in range(1, 4)), *(run(f"b{n}", "b") for n in range(2)), run("c0", "c")]
    await line.arrive(first, *runs)
    by_name = {one.execution: one for one in (first, *runs)}

    for _ in runs:
        await line.end(by_name[line.began[-1]])

    assert line.began == ["a0", "a1", "b0", "c0", "a2", "b1", "a3"]


async def test_run_that_waits_too_long_fails_with_the_reason() -> None:
    line = Line()
    first = run("x0", concurrency=1)
    await line.arrive(first)
    with pytest.raises(QueueTimeout, match=r"as many calls at once as its policy allows \(1\)"):
        await line.queue.start(run("x1", concurrency=1, seconds=0.01))

    await line.end(first)
    await line.arrive(run("x2", concurrency=1))

    assert (line.began, line.queue.waiting) == (["x0", "x2"], 0)


async def test_run_that_is_canceled_while_it_waits_takes_no_slot() -> None:
    line = Line(most=1)
    first = run("x0")
    await line.arrive(first)
    canceled = asyncio.create_task(line.queue.start(run("x1")))
    await asyncio.sleep(0)
    canceled.cancel()
    await asyncio.gather(canceled, return_exceptions=True)
    await line.arrive(run("x2"))

    await line.end(first)

    assert (line.began, line.queue.waiting) == (["x0", "x2"], 0)


async def test_run_that_is_canceled_as_it_starts_lets_the_next_run_start() -> None:
    line = Line(most=1)
    first = run("x0")
    await line.arrive(first)
    canceled = asyncio.create_task(line.queue.start(run("x1")))
    await line.arrive(run("x2"))
    line.queue.end(first)  # x1 is started
    canceled.cancel()  # and canceled before it notices
    await asyncio.gather(canceled, return_exceptions=True)
    await asyncio.sleep(0)

    assert line.began == ["x0", "x2"]

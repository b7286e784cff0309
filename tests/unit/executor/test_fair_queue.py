"""Whose turn it is: bounds of host, project and function, and projects one after the other."""

import asyncio

import pytest

from annals.domain.ports import Run
from annals.executor.pool.fair_queue import NoTurn, Turns
from tests.unit.executor import drivers


def run(name: str, project: str = "p", function: str = "f", *, concurrency: int = 0, seconds: float = 5.0) -> Run:
    return drivers.run(
        project=project, function=function, execution=name, concurrency=concurrency, queue_seconds=seconds
    )


class Line:
    """Runs in the order in which their turns came."""

    def __init__(self, most: int = 100, most_of_project: int = 100) -> None:
        self.turns = Turns(most, most_of_project)
        self.began: list[str] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def come(self, *runs: Run) -> None:
        for one in runs:
            self._tasks.append(asyncio.create_task(self._take(one)))
            await asyncio.sleep(0)
        await asyncio.sleep(0)

    async def _take(self, one: Run) -> None:
        await self.turns.take(one)
        self.began.append(one.execution)

    async def give(self, *runs: Run) -> None:
        for one in runs:
            self.turns.give(one)
            await asyncio.sleep(0)
            await asyncio.sleep(0)


async def test_a_host_runs_no_more_than_it_may_and_the_rest_in_order() -> None:
    line, runs = Line(most=2), [run(f"x{n}") for n in range(5)]
    await line.come(*runs)
    assert (line.began, line.turns.waiting) == (["x0", "x1"], 3)

    await line.give(runs[0])
    assert line.began == ["x0", "x1", "x2"]
    await line.give(runs[1], runs[2])

    assert line.began == ["x0", "x1", "x2", "x3", "x4"]


async def test_a_functions_bound_holds_up_its_own_calls_alone() -> None:
    line = Line()
    mine = [run(f"m{n}", concurrency=1) for n in range(3)]
    await line.come(*mine, run("other", function="g"))
    assert line.began == ["m0", "other"]

    await line.give(mine[0])

    assert line.began == ["m0", "other", "m1"]


async def test_a_crowd_of_one_project_leaves_places_to_others() -> None:
    line = Line(most=4, most_of_project=3)
    await line.come(*(run(f"a{n}", "a") for n in range(50)), run("b0", "b"))
    assert line.began == ["a0", "a1", "a2", "b0"]


async def test_projects_take_turns_where_all_places_are_taken() -> None:
    line = Line(most=1)
    first = run("a0", "a")
    runs = [*(run(f"a{n}", "a") for n in range(1, 4)), *(run(f"b{n}", "b") for n in range(2)), run("c0", "c")]
    await line.come(first, *runs)
    by_name = {one.execution: one for one in (first, *runs)}

    for _ in runs:
        await line.give(by_name[line.began[-1]])

    assert line.began == ["a0", "a1", "b0", "c0", "a2", "b1", "a3"]


async def test_who_waits_too_long_is_told_why() -> None:
    line = Line()
    first = run("x0", concurrency=1)
    await line.come(first)
    with pytest.raises(NoTurn, match=r"as many calls at once as its policy allows \(1\)"):
        await line.turns.take(run("x1", concurrency=1, seconds=0.01))

    await line.give(first)
    await line.come(run("x2", concurrency=1))

    assert (line.began, line.turns.waiting) == (["x0", "x2"], 0)


async def test_one_that_is_canceled_while_it_waits_takes_no_turn() -> None:
    line = Line(most=1)
    first = run("x0")
    await line.come(first)
    canceled = asyncio.create_task(line.turns.take(run("x1")))
    await asyncio.sleep(0)
    canceled.cancel()
    await asyncio.gather(canceled, return_exceptions=True)
    await line.come(run("x2"))

    await line.give(first)

    assert (line.began, line.turns.waiting) == (["x0", "x2"], 0)


async def test_a_turn_that_comes_in_the_moment_of_a_cancel_goes_to_the_next() -> None:
    line = Line(most=1)
    first = run("x0")
    await line.come(first)
    canceled = asyncio.create_task(line.turns.take(run("x1")))
    await line.come(run("x2"))
    line.turns.give(first)  # the turn is handed to x1 …
    canceled.cancel()  # … which does not want it any more
    await asyncio.gather(canceled, return_exceptions=True)
    await asyncio.sleep(0)

    assert line.began == ["x0", "x2"]

"""Jobs are found by name: a newer epoch replaces a job, a cancel ends it, and callers learn the reason."""

import asyncio

import pytest

from annals.executor.wire.server import Canceled, RunningJobs, Superseded

NAME = ("project", "execution")


class Work:
    """Runs until a test ends it; records whether it was cancelled."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.cancelled = False

    async def run(self) -> str:
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        return "done"


async def begun(jobs: RunningJobs[str], work: Work, epoch: int) -> "asyncio.Task[str]":
    task = asyncio.create_task(jobs.run(NAME, epoch, work.run()))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return task


async def test_work_answers_its_caller_and_is_forgotten() -> None:
    jobs: RunningJobs[str] = RunningJobs()
    work = Work()
    task = await begun(jobs, work, 1)
    work.go.set()

    assert await task == "done"
    assert len(jobs) == 0


async def test_cancel_ends_the_work_before_it_returns() -> None:
    jobs: RunningJobs[str] = RunningJobs()
    work = Work()
    task = await begun(jobs, work, 1)

    assert await jobs.cancel(NAME)
    assert work.cancelled
    with pytest.raises(Canceled):
        await task


async def test_cancel_of_an_unknown_name_ends_no_work() -> None:
    assert not await RunningJobs[str]().cancel(NAME)


async def test_newer_claim_ends_the_older_work_first() -> None:
    jobs: RunningJobs[str] = RunningJobs()
    old, new = Work(), Work()
    first = await begun(jobs, old, 1)
    second = await begun(jobs, new, 2)
    with pytest.raises(Canceled):
        await first
    new.go.set()

    assert old.cancelled
    assert await second == "done"


async def test_older_or_equal_claim_is_refused() -> None:
    jobs: RunningJobs[str] = RunningJobs()
    current = Work()
    task = await begun(jobs, current, 2)
    with pytest.raises(Superseded):
        await jobs.run(NAME, 2, Work().run())
    current.go.set()

    assert await task == "done"


async def test_work_is_cancelled_when_its_caller_disconnects() -> None:
    jobs: RunningJobs[str] = RunningJobs()
    work = Work()
    task = await begun(jobs, work, 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert work.cancelled
    assert len(jobs) == 0

"""The executor's port as workers and the API use it: the real one, and each fake that replaces it in tests."""

import asyncio
import time

import pytest

from annals.domain.ports import ExecutorUnreachable
from tests.contract.executor_port.conftest import Side

pytestmark = pytest.mark.timeout(300)


class Heard:
    """The pieces of a log; `begun` is set by the first one."""

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self.begun = asyncio.Event()

    async def __call__(self, text: str) -> None:
        self.pieces.append(text)
        if "begun" in "".join(self.pieces):
            self.begun.set()


async def test_run_gives_the_codes_answer_and_output(side: Side) -> None:
    outcome = await side.executor.execute(await side.run())

    assert (outcome.status_code, outcome.body, outcome.reason) == (200, b"hello", "")
    assert ("x-own", "1") in outcome.headers
    assert outcome.logs
    assert outcome.run_seconds > 0


@pytest.mark.parametrize("status", [100, 101, 103, 199, 200, 204, 304, 404, 499, 500, 501, 503, 504, 599, 600, 999])
async def test_every_status_of_the_code_is_the_outcomes_and_fails_from_500_on(side: Side, status: int) -> None:
    outcome = await side.executor.execute(await side.run_with_status(status))

    assert (outcome.status_code, outcome.reason) == (status, "error" if status >= 500 else "")
    assert outcome.message == ""


async def test_canceled_run_ends_at_once_with_a_reason(side: Side) -> None:
    running = asyncio.create_task(side.executor.execute(await side.lasting_run()))
    began = time.monotonic()
    while not await side.executor.cancel_execution("p", "slow"):
        assert time.monotonic() - began < 60
        await asyncio.sleep(0.05)

    async with asyncio.timeout(60):  # it would last ten minutes
        outcome = await running

    assert outcome.reason == "canceled"
    assert outcome.message


async def test_output_of_a_run_is_readable_while_it_runs(side: Side) -> None:
    running = asyncio.create_task(side.executor.execute(await side.lasting_run()))
    began = time.monotonic()
    while not ((written := await side.executor.output("p", "slow")) and written.logs):
        assert time.monotonic() - began < 60
        await asyncio.sleep(0.05)
    assert await side.executor.cancel_execution("p", "slow")
    outcome = await running

    assert outcome.reason == "canceled"
    assert await side.executor.output("p", "slow") is None


async def test_build_sends_output_while_it_runs_and_stores_its_artefact(side: Side) -> None:
    heard, job = Heard(), await side.job()

    outcome = await side.executor.build(job, heard)

    assert heard.begun.is_set()
    assert outcome.artefact is not None
    assert outcome.artefact.key == job.output_key
    assert outcome.artefact.size > 0
    assert outcome.seconds > 0


async def test_canceled_build_ends_at_once_and_leaves_nothing(side: Side) -> None:
    heard = Heard()
    building = asyncio.create_task(side.executor.build(await side.lasting_job(), heard))
    await asyncio.wait_for(heard.begun.wait(), 60)

    assert await side.executor.cancel_build("p", "slow")
    async with asyncio.timeout(60):  # it would last ten minutes
        outcome = await building

    assert (outcome.artefact, outcome.reason) == (None, "canceled")


async def test_cancelling_unknown_work_returns_false(side: Side) -> None:
    assert not await side.executor.cancel_build("p", "never")
    assert not await side.executor.cancel_execution("p", "never")
    await side.executor.retire("p", "never")


async def test_unreachable_executor_and_lost_work_raise_different_errors(side: Side) -> None:
    gone = side.gone()

    with pytest.raises(ExecutorUnreachable):
        await gone.execute(await side.run())
    with pytest.raises(ExecutorUnreachable):
        await gone.build(await side.job(), Heard())

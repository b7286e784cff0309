"""Whose requests wait for their end: those of deployments whose last call was short, as far as they are remembered."""

import asyncio

import pytest

from annals.app.executions import holding
from annals.app.executions.holding import LONG_SECONDS, Holding
from annals.domain.ports import Outcome, Run
from tests.unit.executor.drivers import run

LONG, SHORT = Outcome(status_code=200, run_seconds=LONG_SECONDS * 2), Outcome(status_code=200)


def of(deployment: str) -> Run:
    return run(deployment=deployment)


async def holds(held: Holding, deployment: str) -> bool:
    """Whether a call that has ended already is waited for."""

    async def ended() -> Outcome:
        return SHORT

    running = asyncio.create_task(ended())
    await running
    return await held.ends_at_once(of(deployment), running)


async def test_what_does_not_end_in_time_is_not_waited_for_any_longer() -> None:
    running = asyncio.ensure_future(asyncio.Event().wait())
    try:
        assert not await Holding().ends_at_once(of("d"), running)  # type: ignore[arg-type]
    finally:
        running.cancel()


async def test_only_what_was_long_is_not_waited_for() -> None:
    held = Holding()
    held.ran(of("long"), LONG)
    assert (await holds(held, "long"), await holds(held, "another")) == (False, True)

    held.ran(of("long"), SHORT)

    assert await holds(held, "long")


async def test_of_many_the_one_that_was_long_most_recently_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holding, "REMEMBERED", 2)
    held = Holding()
    for deployment in ("a", "b", "a", "c"):
        held.ran(of(deployment), LONG)

    assert [await holds(held, deployment) for deployment in "abc"] == [False, True, False]

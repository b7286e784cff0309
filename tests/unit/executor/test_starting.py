"""A cancelled start is completed, however often it is cancelled."""

import asyncio
from typing import Any

import pytest

from annals.executor.drivers.port import started


class FakeSandbox:
    def __init__(self) -> None:
        self.killed = asyncio.Event()
        self.dies = asyncio.Event()

    async def kill(self) -> None:
        self.killed.set()
        await self.dies.wait()


@pytest.mark.parametrize("times", [1, 2, 3])
async def test_cancelled_start_is_completed_and_then_killed(times: int) -> None:
    sandbox, may_start = FakeSandbox(), asyncio.Event()

    async def start() -> Any:
        await may_start.wait()
        return sandbox

    waiting = asyncio.ensure_future(started(start()))
    for _ in range(times):
        await asyncio.sleep(0)
        waiting.cancel()
    await asyncio.sleep(0)
    assert not waiting.done()

    may_start.set()
    await asyncio.wait_for(sandbox.killed.wait(), 10)
    waiting.cancel()
    await asyncio.sleep(0)
    assert not waiting.done()
    sandbox.dies.set()
    with pytest.raises(asyncio.CancelledError):
        await waiting

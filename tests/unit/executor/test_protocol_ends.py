"""The port when one end is silent, or stopping."""

import asyncio

import pytest

from annals.domain.ports import ExecutorUnavailable, ExecutorUnreachable
from annals.executor.wire.client import ExecutorClient
from tests.unit.executor.drivers import run
from tests.unit.executor.test_protocol import Port, begun, port

__all__ = ["port"]


async def test_silent_host_is_disconnected_and_a_slow_one_is_not(port: Port) -> None:
    client = ExecutorClient([f"unix:{port.path}"], silence_seconds=0.2)
    slow = asyncio.create_task(client.execute(run(execution="slow", path="/wait")))
    await asyncio.sleep(0.8)
    assert not slow.done()

    for frames in tuple(port.server._callers):  # as a stopped process, which reads nothing
        frames._transport.pause_reading()  # type: ignore[union-attr]

    async with asyncio.timeout(60):
        with pytest.raises(ExecutorUnavailable):
            await slow
    assert (await client.execute(run(execution="after"))).message == "after"
    await client.close()


async def test_stopping_executor_finishes_executions_and_begins_none(port: Port) -> None:
    running = asyncio.create_task(port.client.execute(run(execution="nearly there", path="/wait")))
    await begun(port, 1)

    stopping = asyncio.create_task(port.server.close())
    await asyncio.sleep(0)
    with pytest.raises(ExecutorUnreachable):
        await port.client.execute(run(execution="too late"))

    port.work.go.set()
    assert (await running).message == "nearly there"
    await stopping

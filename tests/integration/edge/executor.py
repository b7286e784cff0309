"""The fake executor with the answer that the API's tests expect, in this process or behind the port's socket."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from annals.domain.ports import ExecutorUnavailable, ExecutorUnreachable, Outcome
from annals.executor.wire.protocol import VERSION, FrameKind, Frames, Status, decode_run, decode_subject, encode
from tests.integration.workers import executor as fake
from tests.integration.workers.executor import ANY

__all__ = ["ANY", "FakeExecutor", "served"]

A_LOG = Outcome(
    status_code=200, headers=[("content-type", "text/plain")], body=b"hello", logs="a log", run_seconds=0.25
)


class FakeExecutor(fake.FakeExecutor):
    """Answers with a short text, a log and a duration that tests of the API expect."""

    def __init__(self) -> None:
        super().__init__(A_LOG)


@asynccontextmanager
async def served(executor: FakeExecutor, path: Path) -> AsyncIterator[None]:
    """Serve the executor's port on a unix socket, with this executor behind it."""
    tasks: set[asyncio.Task[None]] = set()

    def received(frames: Frames, kind: int, number: int, payload: bytes) -> None:
        task = asyncio.ensure_future(_answer(executor, frames, (kind, number), payload))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    def connection() -> Frames:
        return Frames(received, lambda _: None)

    server = await asyncio.get_running_loop().create_unix_server(connection, path)
    try:
        yield
    finally:
        server.close()
        for task in tasks:
            task.cancel()


async def _answer(executor: FakeExecutor, frames: Frames, asked: tuple[int, int], payload: bytes) -> None:
    kind, number = asked
    try:
        frames.send(FrameKind.RESULT, number, encode(await _answers(executor, kind, payload)))
    except ExecutorUnreachable as away:
        frames.send(FrameKind.NOT_BEGUN, number, encode(str(away)))
    except ExecutorUnavailable as fault:
        frames.send(FrameKind.FAULT, number, encode(str(fault)))


async def _answers(executor: FakeExecutor, kind: int, payload: bytes) -> Any:
    if kind == FrameKind.HELLO:
        return VERSION
    if kind == FrameKind.EXECUTE:
        return await executor.execute(decode_run(payload))
    if kind == FrameKind.STATUS:
        return Status(driver="fake", host="here", runtimes=[], limits={}, work={})
    if kind in {FrameKind.PING, FrameKind.WITHDRAW}:
        return None
    subject = decode_subject(payload)
    if kind == FrameKind.OUTPUT:
        return await executor.output(subject.project, subject.id)
    ways = {FrameKind.CANCEL_BUILD: executor.cancel_build, FrameKind.CANCEL_EXECUTION: executor.cancel_execution}
    return await ways[FrameKind(kind)](subject.project, subject.id)

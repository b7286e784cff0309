"""A hand-written executor: says what it was asked, answers what it was told to."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from annals.domain.ports import (
    Build,
    BuildOutcome,
    ExecutorUnavailable,
    ExecutorUnreachable,
    LogSink,
    Outcome,
    Output,
    Run,
)
from annals.executor.protocol import VERSION, Frames, Kind, Status, decode_run, decode_subject, encode

ANY = "any"


class FakeExecutor:
    """`answer` makes the outcome of a run, `written` is what running ones have said so far, `ANY` of them or one.

    `gate`, when set, holds runs back until it is opened, or they are canceled: then what is `written` is told.
    """

    def __init__(self) -> None:
        self.runs: list[Run] = []
        self.canceled: list[str] = []
        self.canceled_builds: list[str] = []
        self.written: dict[str, Output] = {}
        self.answer: Callable[[Run], Outcome] = lambda _run: Outcome(
            status_code=200, headers=[("content-type", "text/plain")], body=b"hello", logs="a log", run_seconds=0.25
        )
        self.gate: asyncio.Event | None = None
        self._held: dict[str, asyncio.Task[object]] = {}

    async def execute(self, run: Run) -> Outcome:
        self.runs.append(run)
        if self.gate is not None:
            held = self._held[run.execution] = asyncio.create_task(self.gate.wait())
            try:
                await asyncio.wait([held])
                killed = held.cancelled()
            finally:
                held.cancel()
            if killed:
                said = self._said(run.execution) or Output()
                return Outcome(status_code=500, reason="canceled", logs=said.logs, errors=said.errors, host="h1")
        return self.answer(run)

    async def build(self, job: Build, log: LogSink) -> BuildOutcome:
        raise NotImplementedError

    async def cancel_build(self, project: str, deployment: str) -> bool:
        self.canceled_builds.append(deployment)
        return True

    async def output(self, project: str, execution: str) -> Output | None:
        return self._said(execution)

    async def cancel_execution(self, project: str, execution: str) -> bool:
        self.canceled.append(execution)
        held = self._held.get(execution)
        return held is not None and held.cancel()

    def _said(self, execution: str) -> Output | None:
        return self.written.get(execution) or self.written.get(ANY)

    async def status(self) -> dict[str, Any]:
        return {}

    async def retire(self, project: str, deployment: str) -> None:
        raise NotImplementedError

    async def prewarm(self, run: Run, instances: int, seconds: float) -> int:
        raise NotImplementedError


@asynccontextmanager
async def served(executor: FakeExecutor, path: Path) -> AsyncIterator[None]:
    """The executor's port, on a unix socket, with this executor behind it."""
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
        frames.send(Kind.RESULT, number, encode(await _answers(executor, kind, payload)))
    except ExecutorUnreachable as away:
        frames.send(Kind.NOT_BEGUN, number, encode(str(away)))
    except ExecutorUnavailable as fault:
        frames.send(Kind.FAULT, number, encode(str(fault)))


async def _answers(executor: FakeExecutor, kind: int, payload: bytes) -> Any:
    if kind == Kind.HELLO:
        return VERSION
    if kind == Kind.EXECUTE:
        return await executor.execute(decode_run(payload))
    if kind == Kind.STATUS:
        return Status(driver="fake", host="here", runtimes=[], limits={}, work={})
    if kind in {Kind.PING, Kind.WITHDRAW}:
        return None
    subject = decode_subject(payload)
    if kind == Kind.OUTPUT:
        return await executor.output(subject.project, subject.id)
    ways = {Kind.CANCEL_BUILD: executor.cancel_build, Kind.CANCEL_EXECUTION: executor.cancel_execution}
    return await ways[Kind(kind)](subject.project, subject.id)

"""An executor of the tests' own: answers as it is told, and can be held up, lost or made to say something first."""

import asyncio
from collections.abc import Awaitable, Callable

from annals.domain.ports import (
    Artefact,
    Build,
    BuildOutcome,
    ExecutorUnavailable,
    ExecutorUnreachable,
    LogSink,
    Outcome,
    Output,
    Run,
)

HELLO = Outcome(
    status_code=200,
    headers=[("content-type", "text/plain"), ("x-own", "1")],
    body=b"hello",
    logs="said hello",
    run_seconds=0.012,
    host="h1",
)


class FakeExecutor:
    """Keeps what it was asked; `go` releases what is held up, `written` is what killed runs had said."""

    def __init__(self) -> None:
        self.runs: list[Run] = []
        self.builds: list[Build] = []
        self.canceled: list[str] = []
        self.retired: list[str] = []
        self.prewarmed: list[tuple[Run, int, float]] = []
        self.go = asyncio.Event()
        self.go.set()
        self.lost = self.unreachable = False
        self.outcome = HELLO
        self.written = ""
        self.build_outcome: BuildOutcome | None = None
        self.says: list[str] = ["installing\n", "packing\n"]
        self._killed: dict[str, asyncio.Event] = {}
        self._logs: dict[str, LogSink] = {}

    async def execute(self, run: Run) -> Outcome:
        self._answer()
        self.runs.append(run)
        killed = await self._wait_or_be_killed(run.execution)
        cut = Outcome(status_code=500, reason="canceled", message="Killed.", logs=self.written)
        return cut if killed else self.outcome

    async def build(self, job: Build, log: LogSink) -> BuildOutcome:
        self._answer()
        self.builds.append(job)
        self._logs[job.deployment] = log
        for text in self.says:
            await log(text)
        if await self._wait_or_be_killed(job.deployment):
            return BuildOutcome(reason="canceled", message="Killed.")
        self._answer()
        artefact = Artefact(key=job.output_key, digest="a" * 64, size=123)
        return self.build_outcome or BuildOutcome(artefact=artefact, seconds=1.2)

    async def speak(self, deployment: str, text: str) -> None:
        """Let a running build say something."""
        await self._logs[deployment](text)

    async def cancel_build(self, project: str, deployment: str) -> bool:
        return self._kill(deployment)

    async def output(self, project: str, execution: str) -> Output | None:
        return Output(self.outcome.logs) if execution in self._killed else None

    async def cancel_execution(self, project: str, execution: str) -> bool:
        return self._kill(execution)

    async def retire(self, project: str, deployment: str) -> None:
        self.retired.append(deployment)

    async def prewarm(self, run: Run, instances: int, seconds: float) -> int:
        self.prewarmed.append((run, instances, seconds))
        return instances

    def _answer(self) -> None:
        if self.lost:
            raise ExecutorUnavailable("no executor answers")
        if self.unreachable:
            raise ExecutorUnreachable("no executor can be reached")

    def _kill(self, own_id: str) -> bool:
        self.canceled.append(own_id)
        killed = self._killed.get(own_id)
        if killed is not None:
            killed.set()
        return killed is not None

    async def _wait_or_be_killed(self, own_id: str) -> bool:
        killed = self._killed[own_id] = asyncio.Event()
        waits: list[Callable[[], Awaitable[object]]] = [self.go.wait, killed.wait]
        tasks = [asyncio.ensure_future(wait()) for wait in waits]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            self._killed.pop(own_id, None)
        return killed.is_set() and not self.go.is_set()

"""The fake executor of the workers' and the API's tests, held to the contract suite of the executor's port.

It answers as a test says, and can be held up, lost or made to say something first.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from annals.domain.ports import (
    UNANSWERED_STATUS,
    Artefact,
    Build,
    BuildOutcome,
    ExecutorUnavailable,
    ExecutorUnreachable,
    LogSink,
    Outcome,
    Output,
    Run,
    reason_of_answer,
)

HELLO = Outcome(
    status_code=200,
    headers=[("content-type", "text/plain"), ("x-own", "1")],
    body=b"hello",
    logs="said hello",
    run_seconds=0.012,
    host="h1",
)


ANY = "any"


def answered(outcome: Outcome) -> Outcome:
    """An outcome as an executor reports it: an answer of 500 and above has its reason, no other one a status."""
    assert outcome.reason in {"", "error"} or outcome.status_code == UNANSWERED_STATUS
    return msgspec.structs.replace(outcome, reason=outcome.reason or reason_of_answer(outcome.status_code))


class FakeExecutor:
    """Records its requests; `answer` makes the outcome of a run, by default the one in `outcome`.

    `go` releases what is held up. `written` is what running and killed runs have said, by execution or for ANY.
    """

    def __init__(self, outcome: Outcome = HELLO) -> None:
        self.runs: list[Run] = []
        self.builds: list[Build] = []
        self.canceled: list[str] = []
        self.retired: list[str] = []
        self.prewarmed: list[tuple[Run, int, float]] = []
        self.go = asyncio.Event()
        self.go.set()
        self.lost = self.unreachable = False
        self.outcome = outcome
        self.answer: Callable[[Run], Outcome] = lambda _run: self.outcome
        self.written: dict[str, Output] = {}
        self.build_outcome: BuildOutcome | None = None
        self.says: list[str] = ["installing\n", "packing\n"]
        self._killed: dict[str, asyncio.Event] = {}
        self._logs: dict[str, LogSink] = {}

    async def execute(self, run: Run) -> Outcome:
        self._answer()
        self.runs.append(run)
        if await self._wait_or_be_killed(run.execution):
            said = self._said(run.execution)
            return Outcome(
                status_code=500, reason="canceled", message="Killed.", logs=said.logs, errors=said.errors, host="h1"
            )
        return answered(self.answer(run))

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
        """Let a running build write output."""
        await self._logs[deployment](text)

    async def cancel_build(self, project: str, deployment: str) -> bool:
        return self._kill(deployment)

    async def output(self, project: str, execution: str) -> Output | None:
        return self._said(execution) if execution in self._killed else None

    async def cancel_execution(self, project: str, execution: str) -> bool:
        return self._kill(execution)

    async def retire(self, project: str, deployment: str) -> None:
        self.retired.append(deployment)

    async def prewarm(self, run: Run, instances: int, seconds: float) -> int:
        self.prewarmed.append((run, instances, seconds))
        return instances

    async def status(self) -> dict[str, Any]:
        return {}

    def _said(self, own_id: str) -> Output:
        return self.written.get(own_id) or self.written.get(ANY) or Output()

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

"""The simulated executor. The scenario makes it slow, lost, unreachable or late."""

import asyncio
import random
from collections.abc import Callable
from typing import Any, NoReturn

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
    reason_of_answer,
)
from annals.store.content.blobs import BlobError
from tests.simulation.blobs import SimulatedBlobs
from tests.simulation.loop import SimulatedLoop


class ExecutorFaults:
    """`slow` is how likely work takes as long as it may, `hang` how likely it never ends, `broken` how likely a build
    fails.
    """

    def __init__(self) -> None:
        self.slow = self.hang = 0.0
        self.broken = 0.1


class SimulatedExecutor:
    """An executor whose outcomes name their claim epoch in `host`, so that a recorded outcome shows its claim."""

    def __init__(
        self, loop: SimulatedLoop, rng: random.Random, fail: Callable[[str], None], blobs: SimulatedBlobs
    ) -> None:
        self._loop, self._rng, self._fail = loop, rng, fail
        self._blobs = blobs.of_another(self._die)
        self._running: dict[str, list[tuple[asyncio.Future[Any], Callable[[], Any]]]] = {}
        self.faults = ExecutorFaults()
        self.up = True
        self.answer: Callable[[Run], Outcome] = self.drawn
        self.statuses = [200, 200, 204, 404, 500]
        self.says = "building\n"
        self.started: dict[tuple[str, int], int] = {}

    async def execute(self, run: Run) -> Outcome:
        await self._reach()
        self._start(run.execution, run.epoch)
        done = self.answer(run)
        host = f"epoch-{run.epoch}"
        killed = Outcome(status_code=500, reason="canceled", message="Killed.", logs=f"cut in {host}", host=host)
        outcome: Outcome = await self._work(run.execution, done, killed, run.run_seconds)
        return outcome

    def drawn(self, run: Run) -> Outcome:
        """Return an answer with one of the status codes that the scenario draws."""
        code = self._rng.choice(self.statuses)
        return Outcome(
            status_code=code,
            reason=reason_of_answer(code),
            logs="ran",
            run_seconds=0.01,
            host=f"epoch-{run.epoch}",
        )

    async def build(self, job: Build, log: LogSink) -> BuildOutcome:
        await self._reach()
        self._start(job.deployment, job.epoch)
        await log(self.says)
        done = BuildOutcome(seconds=1.0)
        if self._rng.random() < self.faults.broken:
            done = BuildOutcome(reason="command_failed", message="exit 1", exit_code=1, seconds=1.0)
        killed = BuildOutcome(reason="canceled", message="Killed.")
        outcome: BuildOutcome = await self._work(job.deployment, done, killed, job.timeout_seconds)
        return outcome if outcome.reason else await self._keep(job)

    async def _keep(self, job: Build) -> BuildOutcome:
        """Return an artefact whose size names its claim epoch, or none, as a canceled build."""
        try:
            blob = await self._blobs.put(job.output_key, bytes(10 + job.epoch))
        except BlobError as error:
            return BuildOutcome(reason="executor_lost", message=str(error), seconds=1.0)
        return BuildOutcome(artefact=Artefact(key=blob.key, digest=blob.digest, size=blob.size), seconds=1.0)

    async def _die(self) -> NoReturn:
        self.crash()
        raise ExecutorUnavailable("the executor was lost")

    async def cancel_build(self, project: str, deployment: str) -> bool:
        await self._reach()
        return self._kill(deployment)

    async def cancel_execution(self, project: str, execution: str) -> bool:
        await self._reach()
        return self._kill(execution)

    async def output(self, project: str, execution: str) -> Output | None:
        await self._reach()
        return Output("ran") if execution in self._running else None

    async def retire(self, project: str, deployment: str) -> None:
        await self._reach()

    async def prewarm(self, run: Run, instances: int, seconds: float) -> int:
        await self._reach()
        return 0

    def crash(self) -> None:
        """Lose all running work: its callers get a connection error."""
        self.up = False
        running, self._running = self._running, {}
        for work in running.values():
            for future, _ in work:
                if not future.done():
                    future.set_exception(ExecutorUnavailable("the executor was lost"))

    def restart(self) -> None:
        self.up = True

    def _start(self, own_id: str, epoch: int) -> None:
        """Count the start. A second start under one claim means that a caller did not check the claim."""
        count = self.started[own_id, epoch] = self.started.get((own_id, epoch), 0) + 1
        if count > 1:
            self._fail(f"{own_id} was started {count} times under epoch {epoch}")

    async def _reach(self) -> None:
        await asyncio.sleep(self._rng.random() * 0.002)
        if not self.up:
            raise ExecutorUnreachable("connection refused")

    async def _work(self, own_id: str, done: Any, killed: Any, limit: float) -> Any:
        future: asyncio.Future[Any] = self._loop.create_future()
        work = (future, lambda: killed)
        self._running.setdefault(own_id, []).append(work)
        draw = self._rng.random()
        if draw >= self.faults.hang:
            seconds = limit if draw < self.faults.hang + self.faults.slow else self._rng.random() ** 3 * limit
            self._loop.call_later(seconds, _resolve, future, done)
        try:
            return await future
        finally:
            left = [one for one in self._running.get(own_id, []) if one is not work]
            if left:
                self._running[own_id] = left
            else:
                self._running.pop(own_id, None)

    def _kill(self, own_id: str) -> bool:
        running = self._running.get(own_id, [])
        for future, killed in running:
            self._loop.call_later(self._rng.random() * 0.05, _resolve, future, killed())
        return bool(running)


def _resolve(future: "asyncio.Future[Any]", outcome: Any) -> None:
    if not future.done():
        future.set_result(outcome)

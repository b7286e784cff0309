"""Runs one execution, from its request to a typed outcome. Failures of user code never raise."""

import asyncio
import secrets
import time

import msgspec

from annals.domain.ports import UNANSWERED_STATUS, Outcome, Output, Reason, Run, reason_of_answer
from annals.executor.config import ExecutorConfig
from annals.executor.drivers.port import Exit
from annals.executor.errors import BadArchive, EngineAway, NoneFree, RuntimeUnavailable, StartFailed
from annals.executor.logs.channel import ExecutionLog
from annals.executor.logs.frames import ERRORS, LOGS
from annals.executor.logs.spool import Spools
from annals.executor.pool.code import CodeMissing
from annals.executor.pool.http_client import ConnectionBroken, FunctionResponse, ResponseTooLarge
from annals.executor.pool.instance import CONTROL, Instance, Why, code_of
from annals.executor.pool.pool import Pool
from annals.executor.pool.run_queue import QueueTimeout, RunQueue
from annals.store.content.blobs import BlobError

TIMED_OUT = "Execution timed out."
CANCELED = "It was canceled."
EXIT_SECONDS = 1.0
LAST_SECONDS = 5.0


class _Clock:
    """Measures the phases of one execution."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.turn = self.ready = self.began
        self.cold = False

    def outcome(self, **fields: object) -> Outcome:
        queued, waited = self.turn - self.began, self.ready - self.turn
        times = {
            "queue_seconds": queued + (0.0 if self.cold else waited),
            "start_seconds": waited if self.cold else 0.0,
            "run_seconds": time.monotonic() - self.ready,
        }
        return Outcome(cold=self.cold, **times, **fields)  # type: ignore[arg-type]


class Runner:
    """Executes runs on a pool's instances. `host` is this host's name in outcomes; `spools` receive long logs."""

    def __init__(self, config: ExecutorConfig, pool: Pool, host: str, spools: Spools | None = None) -> None:
        self._spools = spools
        self._grace = config.grace_seconds
        self._pool = pool
        self._host = host
        self._live: dict[tuple[str, str], ExecutionLog] = {}
        self._queue = RunQueue(config.executions, config.executions_per_project)

    async def execute(self, run: Run) -> Outcome:
        """Wait until the run may start, run it, and return its outcome. Raises EngineAway.

        Cancelling kills the instance. If the code was called already, the outcome contains its output so far.
        """
        clock = _Clock()
        try:
            await self._queue.start(run)
        except QueueTimeout as failure:
            clock.turn = clock.ready = time.monotonic()
            return self._failed(clock, "runtime_unavailable", str(failure))
        try:
            clock.turn = clock.ready = time.monotonic()
            return await self._execute(run, clock)
        finally:
            self._queue.end(run)

    @property
    def waiting(self) -> int:
        """The number of runs that have not started."""
        return self._queue.waiting

    async def _execute(self, run: Run, clock: _Clock) -> Outcome:
        try:
            instance, clock.cold = await self._pool.acquire(run)
        except EngineAway:
            raise
        except (NoneFree, StartFailed) as failure:
            return self._failed(clock, "start_failed", str(failure))
        except RuntimeUnavailable as failure:
            return self._failed(clock, "runtime_unavailable", str(failure))
        except CodeMissing as failure:
            return self._failed(clock, "deployment_missing", str(failure))
        except (BadArchive, BlobError, OSError) as failure:
            return self._failed(clock, "start_failed", f"The deployment could not be unpacked: {failure}")
        clock.ready = time.monotonic()
        log_id = secrets.token_hex(10)
        spools = self._spools if run.logging else None
        log = instance.logs.open(log_id, (lambda: spools.begin(run.outputs_key)) if spools else None)
        name = (run.project, run.execution)
        if run.logging:
            self._live[name] = log
        try:
            outcome = await self._held(run, instance, log_id, log, clock)
            whole = await log.whole()
            return msgspec.structs.replace(outcome, whole=whole) if whole else outcome
        finally:
            await log.drop()
            if self._live.get(name) is log:
                del self._live[name]

    async def _held(self, run: Run, instance: Instance, log_id: str, log: ExecutionLog, clock: _Clock) -> Outcome:
        """Call an instance, and release it afterwards."""
        try:
            return await self._call(run, instance, log_id, log, clock)
        except asyncio.CancelledError:
            self._pool.retire(run, instance, Why.CANCELED)
            await instance.logs.gather(log_id, log)
            return self._failed(clock, "canceled", CANCELED, log, instance.id)
        finally:
            instance.logs.forget(log_id)
            self._pool.release(run, instance)

    def output(self, project: str, execution: str) -> Output | None:
        """Return the output of a running execution so far."""
        log = self._live.get((project, execution))
        return None if log is None else Output(log.text(LOGS), log.text(ERRORS))

    def _failed(
        self, clock: _Clock, reason: Reason, message: str, log: ExecutionLog | None = None, instance: str = ""
    ) -> Outcome:
        if clock.ready == clock.turn:
            clock.ready = time.monotonic()
        return clock.outcome(
            status_code=UNANSWERED_STATUS,
            reason=reason,
            message=message,
            logs=log.text(LOGS) if log else "",
            errors=log.text(ERRORS) if log else "",
            instance=instance,
            host=self._host,
        )

    async def _call(self, run: Run, instance: Instance, log_id: str, log: ExecutionLog, clock: _Clock) -> Outcome:
        async def failed(reason: Reason, message: str) -> Outcome:
            await instance.logs.gather(log_id, log)
            return self._failed(clock, reason, message, log, instance.id)

        try:
            async with asyncio.timeout(run.run_seconds + self._grace):
                answer = await instance.call(run, log_id)
        except TimeoutError:
            self._pool.retire(run, instance, Why.LATE)
            return await failed("timeout", timed_out(run.run_seconds))
        except ResponseTooLarge as breach:
            return await failed("response_too_large", str(breach))
        except ValueError:
            return await failed("error", "The request cannot be sent: its path or a header holds a line break.")
        except (ConnectionBroken, OSError):
            return await failed(*await self._death(run, instance))
        self._pool.answered(run, instance)
        if instance.fault and answer.status >= 500:  # the code's error, caused by the closed log socket
            return await failed("crashed", instance.fault)
        if run.logging:
            await instance.logs.finish(log_id, log)
        outcome = self._answered(run, answer, clock, log, instance.id)
        if outcome.reason == "timeout":  # the server gave up, but the code still runs
            self._pool.retire(run, instance, Why.LATE)
        return outcome

    async def _death(self, run: Run, instance: Instance) -> tuple[Reason, str]:
        """Return why a connection broke; usually the sandbox ended, and the driver knows how."""
        end = await _end_of(instance, EXIT_SECONDS)
        if instance.fault:
            return "crashed", instance.fault
        if end is None:
            self._pool.retire(run, instance, Why.BROKEN)
            end = await _end_of(instance, LAST_SECONDS)  # freeing much memory takes long; the end then has a reason
            if end is None or not (end.out_of_memory or end.breach):
                return "crashed", "The instance dropped the connection without an answer."
        if end.lost and not instance.retired:
            return "crashed", f"The instance disappeared: {end.lost}"
        if end.out_of_memory:
            return "out_of_memory", f"The instance used more than its {run.limits.memory_mb} MB of memory."
        if end.breach:
            return "crashed", f"The instance broke its limit on {end.breach}."
        if instance.retired and end.code < 0:
            return "crashed", f"The instance was ended: {instance.retired}"
        printed = instance.tail.text()
        return "crashed", f"The instance exited with {code_of(end)}." + (f"\n{printed}" if printed else "")

    def _answered(self, run: Run, answer: FunctionResponse, clock: _Clock, log: ExecutionLog, instance: str) -> Outcome:
        errors, reason, message = log.text(ERRORS), reason_of_answer(answer.status), ""
        late = time.monotonic() - clock.ready >= run.run_seconds
        # A flood of output can displace the server's line from the log: an empty 500 after the timeout is enough.
        if answer.status == 500 and not answer.body and late:
            reason, message = "timeout", timed_out(run.run_seconds)
            before, found, after = errors.rpartition(TIMED_OUT)
            errors = f"{before}{message}{after}" if found else errors
        return clock.outcome(
            status_code=answer.status,
            headers=[(name, value) for name, value in answer.headers if not name.startswith(CONTROL)],
            body=answer.body,
            logs=log.text(LOGS),
            errors=errors,
            reason=reason,
            message=message,
            instance=instance,
            host=self._host,
        )


def timed_out(seconds: float) -> str:
    """Return the message of a run that did not end in time; it begins with the contract's words."""
    return f"{TIMED_OUT} It had no end within its timeout of {seconds:g} s."


async def _end_of(instance: Instance, seconds: float) -> Exit | None:
    """Return how an instance ended, or None if it does not end within `seconds`."""
    try:
        async with asyncio.timeout(seconds):
            return await instance.ended()
    except TimeoutError:
        return None

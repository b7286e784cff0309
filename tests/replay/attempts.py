"""Steps of a random history for calls: policies, attempts, and dead letters."""

from datetime import UTC, datetime
from typing import Any

from annals.domain.commands import executions, functions
from annals.domain.execution import CallRequest, Execution, RunRecord
from annals.domain.policy import Policy, Retries, Scaling
from annals.store.log.log import EventLog
from tests.integration.projections.history import META

ATTEMPT_ACTIONS = ["change_policy", "request_twice", "request_twice", "attempt", "attempt", "redrive", "discard", "cut"]
NOW = datetime(2030, 1, 1, tzinfo=UTC)


class AttemptActor:
    """The steps; the complete actor runs the commands and names the streams."""

    p: str
    log: EventLog

    async def run(self, command: Any, *keys: Any, **arguments: Any) -> None:
        raise AssertionError("the whole actor runs commands")

    def fn(self, one: int) -> Any:
        raise AssertionError("the whole actor names functions")

    def exe(self, one: int) -> Any:
        raise AssertionError("the whole actor names executions")

    async def incarnation(self, one: int) -> int:
        raise AssertionError("the whole actor knows incarnations")

    async def change_policy(self, one: int, other: int, flag: bool) -> None:
        scaling = Scaling(min_warm=other, concurrency=one)
        policy = Policy(scaling=scaling, retries=Retries(attempts=3 if flag else 1))
        await self.run(functions.change_policy, self.fn(one), policy=policy)

    async def request_twice(self, one: int, other: int, flag: bool) -> None:
        """Request a call with two attempts."""
        retries = Retries(attempts=2, max_age_seconds=14 * 86_400 * 3650)
        await self.call(one, other, "/", trigger="schedule" if flag else "http", retries=retries)

    async def call(self, one: int, other: int, path: str, **recorded_events: Any) -> None:
        """Request a call of a function."""
        await self.run(
            Execution.request_run,
            Execution.absent(self.p, f"e{one}"),
            project_id=self.p,
            function_id=f"f{other}",
            function_incarnation=await self.incarnation(other),
            function_version=1,
            execution_id=f"e{one}",
            deployment_id="d0",
            request=CallRequest(method="POST", path=path),
            **recorded_events,
        )

    async def attempt(self, one: int, other: int, flag: bool) -> None:
        """Claim a waiting execution, and fail it."""
        ran = RunRecord(
            deployment_id="d1", function_version=3, environment_digest="x", specification="s-1vcpu-1gb", run_ms=31
        )  # fmt: skip
        execution = await self.log.load(self.exe(one))
        execution.claim("w")
        execution.fail(
            execution.epoch, "timeout", "late\0", now=NOW, status_code=500, ran=ran if flag else None, logs_size=other
        )  # fmt: skip
        await self.log.record([execution], meta=META)

    async def cut(self, one: int, other: int, flag: bool) -> None:
        """Cancel a running execution; its output is recorded later."""
        execution = await self.log.load(self.exe(one))
        execution.claim("w")
        execution.cancel()
        await self.log.record([execution], meta=META)
        execution.keep_output(execution.epoch, logs_size=other, errors_size=int(flag))
        await self.log.record([execution], meta=META)

    async def redrive(self, one: int, other: int, flag: bool) -> None:
        own_id = f"e{one}{other}"
        await self.run(
            executions.redrive_execution,
            self.exe(one),
            Execution.absent(self.p, own_id),
            function_id=f"f{other}",
            incarnation=await self.incarnation(other),
            execution_id=own_id,
            function_version=2,
            deployment_id="d1",
            request=CallRequest(method="POST", path="/"),
        )

    async def discard(self, one: int, other: int, flag: bool) -> None:
        incarnation = await self.incarnation(other)
        await self.run(
            executions.discard_execution, self.exe(one), function_id=f"f{other}", incarnation=incarnation
        )  # fmt: skip

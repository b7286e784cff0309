"""An execution: one call of a function, from the request to its single end.

A call with retries may fail several times before its end. If the last attempt fails, the execution is a dead letter. It
can be redriven, as another execution.

One file because an execution and the parts of its events belong together.
"""

from datetime import datetime
from typing import Any, ClassVar, Literal

import msgspec

from annals.domain.base import Aggregate, AggregateEvent, CreatedEvent, DeletionEvent
from annals.domain.errors import (
    DeadLetterNotFound,
    ExecutionAlreadyEnded,
    ExecutionAlreadyExists,
    ExecutionInProgress,
    ExecutionNotFound,
    FunctionNotFound,
)
from annals.domain.policy import Retries
from annals.domain.ports import OutputKind, Reason

Status = Literal["scheduled", "waiting", "processing", "completed", "failed"]
Trigger = Literal["http", "schedule", "event"]


class Header(msgspec.Struct, frozen=True):
    name: str
    value: str


class CallRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A call without its body. `headers` are those stored for display (http-api.md 7.19).

    `input_digest` is the SHA-256 of the sealed input (body and all headers) stored for a later run, empty for none.
    `event` is the name of the event that triggered the call.
    """

    method: str
    path: str
    headers: list[Header] = []
    user_id: str = ""
    input_digest: str = ""
    input_size: int = 0
    event: str = ""


class CompleteOutput(msgspec.Struct, frozen=True, kw_only=True):
    """Complete output, stored beside the part that the contract shows: SHA-256 in hex, and bytes."""

    kind: OutputKind
    digest: str
    size: int


class RunRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The resources and times (in milliseconds) of a run.

    `routed` says that a share of the traffic chose the deployment, which may not be the active one.
    """

    deployment_id: str
    function_version: int
    environment_digest: str
    specification: str
    cold: bool = False
    host: str = ""
    queue_ms: int = 0
    start_ms: int = 0
    run_ms: int = 0
    routed: bool = False


class RunOutput(AggregateEvent, frozen=True):
    """The output of a run's code: SHA-256 in hex and bytes of the contents stored beside the event."""

    REQUIRES_PROJECT: ClassVar[bool] = False
    epoch: int
    logs_digest: str = ""
    logs_size: int = 0
    errors_digest: str = ""
    errors_size: int = 0
    whole: list[CompleteOutput] = msgspec.field(default_factory=list)


class FailedAttempt(AggregateEvent, frozen=True):
    """The code answered 500 or above, or did not answer; `reason` and `message` say why."""

    REQUIRES_PROJECT: ClassVar[bool] = False
    epoch: int
    reason: Reason
    message: str
    status_code: int
    headers: list[Header] = msgspec.field(default_factory=list)
    ran: RunRecord | None = None
    logs_digest: str = ""
    logs_size: int = 0
    errors_digest: str = ""
    errors_size: int = 0
    whole: list[CompleteOutput] = msgspec.field(default_factory=list)


class Execution(Aggregate):
    TOPIC: ClassVar[str] = "execution"
    MISSING = ExecutionNotFound

    class Event(AggregateEvent, frozen=True):
        pass

    class Requested(CreatedEvent, Event, frozen=True):
        """The call was accepted. With `epoch` 1 `worker` has claimed it (a synchronous call), else it waits.

        A `pinned` execution runs `deployment_id`. Others run the deployment that is active, or chosen by a share of the
        traffic, at their start; `deployment_id` is that deployment at the time of the request. `slot` is the time of
        the function's schedule, `late` says that it was long past. `retries` is the function's policy at the time of
        the request, None for one attempt. `redrives` is the dead letter that is run again.
        """

        TOPIC: ClassVar[str] = "execution.requested"
        REQUIRES_PROJECT: ClassVar[bool] = False
        project_id: str
        function_id: str
        function_incarnation: int
        function_version: int
        execution_id: str
        deployment_id: str
        trigger: Trigger
        request: CallRequest
        scheduled_at: datetime | None = None
        worker: str = ""
        epoch: int = 0
        pinned: bool = False
        slot: datetime | None = None
        late: bool = False
        retries: Retries | None = None
        redrives: str = ""

    class Claimed(Event, frozen=True):
        TOPIC: ClassVar[str] = "execution.claimed"
        worker: str
        epoch: int

        def apply(self, aggregate: "Execution") -> None:
            aggregate.status = "processing"
            aggregate.worker = self.worker
            aggregate.epoch = self.epoch
            aggregate.due_at = None

    class Completed(Event, frozen=True):
        """The code answered below 500; `headers` are those stored for display."""

        TOPIC: ClassVar[str] = "execution.completed"
        REQUIRES_PROJECT: ClassVar[bool] = False
        epoch: int
        status_code: int
        headers: list[Header]
        ran: RunRecord
        logs_digest: str = ""
        logs_size: int = 0
        errors_digest: str = ""
        errors_size: int = 0
        whole: list[CompleteOutput] = msgspec.field(default_factory=list)

        def apply(self, aggregate: "Execution") -> None:
            aggregate.status = "completed"

    class Failed(FailedAttempt, Event, frozen=True):
        TOPIC: ClassVar[str] = "execution.failed"

        def apply(self, aggregate: "Execution") -> None:
            aggregate.status = "failed"

    class RetryScheduled(FailedAttempt, Event, frozen=True, kw_only=True):
        """An attempt failed, and the next one is due at `due_at`."""

        TOPIC: ClassVar[str] = "execution.retry_scheduled"
        due_at: datetime

        def apply(self, aggregate: "Execution") -> None:
            aggregate.status = "waiting"
            aggregate.due_at = self.due_at
            if self.ran is not None:
                aggregate.routed_to = self.ran.deployment_id if self.ran.routed else ""

    class DeadLettered(Failed, frozen=True, kw_only=True):
        """The last attempt failed for `cause`. The input stays stored, and the call can be redriven."""

        TOPIC: ClassVar[str] = "execution.dead_lettered"
        cause: Reason

        def apply(self, aggregate: "Execution") -> None:
            aggregate.status = "failed"
            aggregate.dead = True

    class Redriven(Event, frozen=True):
        """Another execution runs the call again; this execution is no longer a dead letter."""

        TOPIC: ClassVar[str] = "execution.redriven"
        execution_id: str

        def apply(self, aggregate: "Execution") -> None:
            aggregate.dead = False

    class Discarded(Event, frozen=True):
        """The dead letter was discarded: it is not redriven."""

        TOPIC: ClassVar[str] = "execution.discarded"

        def apply(self, aggregate: "Execution") -> None:
            aggregate.dead = False

    class Canceled(Event, frozen=True):
        """With a `reason` the deletion of its function canceled it, and the output of its run is discarded."""

        TOPIC: ClassVar[str] = "execution.canceled"
        reason: Literal["", "function_deleted"] = ""

        def apply(self, aggregate: "Execution") -> None:
            aggregate.cut = aggregate.epoch if aggregate.status == "processing" and not self.reason else 0
            aggregate.status = "failed"
            aggregate.due_at = None

    class OutputKept(RunOutput, Event, frozen=True):
        """The output of a run that was canceled; the execution has already ended."""

        TOPIC: ClassVar[str] = "execution.output_kept"

        def apply(self, aggregate: "Execution") -> None:
            aggregate.cut = 0

    class Deleted(DeletionEvent, Event, frozen=True):
        TOPIC: ClassVar[str] = "execution.deleted"

    def __init__(
        self,
        *,
        project_id: str,
        function_id: str,
        function_incarnation: int,
        function_version: int,
        execution_id: str,
        deployment_id: str,
        trigger: Trigger,
        request: CallRequest,
        scheduled_at: datetime | None,
        worker: str,
        epoch: int,
        pinned: bool,
        slot: datetime | None,
        late: bool,
        retries: Retries | None,
        redrives: str,
    ) -> None:
        self.project_id = project_id
        self.function_id = function_id
        self.function_incarnation = function_incarnation
        self.function_version = function_version
        self.execution_id = execution_id
        self.deployment_id = deployment_id
        self.trigger = trigger
        self.request = request
        self.scheduled_at = scheduled_at
        self.worker = worker
        self.epoch = epoch
        self.pinned = pinned
        self.slot = slot
        self.late = late
        self.retries = retries
        self.redrives = redrives
        self.due_at: datetime | None = None
        self.routed_to: str | None = None
        self.dead = False
        self.cut = 0
        self.status: Status = "processing" if epoch else ("scheduled" if scheduled_at else "waiting")

    @classmethod
    def request_run(
        cls, former: "Execution | None", *, project_id: str, execution_id: str, worker: str = "", **fields: Any
    ) -> "Execution":
        """Accept a call; `fields` are the other fields of `Requested`.

        With a `worker` the call is synchronous and claimed, else it waits for a worker.
        """
        if former is not None and not former.deleted:
            raise ExecutionAlreadyExists
        return cls.start(
            cls.Requested,
            cls.stream(project_id, execution_id),
            former,
            project_id=project_id,
            execution_id=execution_id,
            worker=worker,
            epoch=1 if worker else 0,
            **fields,
        )

    @property
    def ended(self) -> bool:
        """True after the single end of the execution."""
        return self.status in {"completed", "failed"}

    def claim(self, worker: str) -> bool:
        """Claim the run. False if it is claimed or ended."""
        if self.status not in {"waiting", "scheduled"}:
            return False
        self.trigger_event(self.Claimed, worker=worker, epoch=self.epoch + 1)
        return True

    def complete(self, epoch: int, *, status_code: int, headers: list[Header], ran: RunRecord, **contents: Any) -> bool:
        """Record the code's answer. False if this claim no longer holds the run."""
        if not self._holds(epoch):
            return False
        self.trigger_event(self.Completed, epoch=epoch, status_code=status_code, headers=headers, ran=ran, **contents)
        return True

    def fail(self, epoch: int, reason: Reason, message: str, *, now: datetime, **fields: Any) -> bool:
        """Record a failed attempt; `fields` are those of `FailedAttempt`. False if another claim holds the run.

        The call's retries decide whether another attempt is due, or the execution ends.
        """
        if not self._holds(epoch):
            return False
        fields |= {"epoch": epoch}
        if self.retries is None or not self.retries.retried(reason):
            self.trigger_event(self.Failed, reason=reason, message=message, **fields)
            return True
        due = self.retries.due_after(epoch, since=self.scheduled_at or self.created_on, now=now, name=self.id)
        if due is None:
            sentence = self.retries.given_up(epoch, reason, message)
            self.trigger_event(self.DeadLettered, reason="dead_lettered", cause=reason, message=sentence, **fields)
        else:
            self.trigger_event(self.RetryScheduled, reason=reason, message=message, due_at=due, **fields)
        return True

    def cancel(self) -> None:
        if self.ended:
            raise ExecutionAlreadyEnded
        self.trigger_event(self.Canceled)

    def abandon(self, incarnation: int) -> None:
        """End an open execution of a deleted function, if it belongs to that incarnation."""
        if not self.ended and self.function_incarnation == incarnation:
            self.trigger_event(self.Canceled, reason="function_deleted")

    def keep_output(self, epoch: int, **contents: Any) -> bool:
        """Record the output of a canceled run once. False for another claim, or if no run was canceled."""
        if self.deleted or not epoch or epoch != self.cut:
            return False
        self.trigger_event(self.OutputKept, epoch=epoch, **contents)
        return True

    def redrive(self, execution_id: str) -> None:
        """Record that another execution runs the dead letter again. Raises DeadLetterNotFound."""
        self._require_dead()
        self.trigger_event(self.Redriven, execution_id=execution_id)

    def discard(self) -> None:
        """Remove the execution from the dead letters, but keep it. Raises DeadLetterNotFound."""
        self._require_dead()
        self.trigger_event(self.Discarded)

    def _require_dead(self) -> None:
        if not self.dead:
            raise DeadLetterNotFound

    def require_function(self, function_id: str, incarnation: int) -> None:
        """Raise ExecutionNotFound if another function has it, FunctionNotFound for another incarnation."""
        if self.function_id != function_id:
            raise ExecutionNotFound
        if self.function_incarnation != incarnation:
            raise FunctionNotFound

    def delete(self, *, stale: bool = False) -> None:
        """Delete an ended or scheduled execution. A `stale` one exceeded its timeout, and its worker's lease lapsed."""
        if not (self.ended or self.status == "scheduled" or stale):
            raise ExecutionInProgress
        self.trigger_event(self.Deleted)

    def _holds(self, epoch: int) -> bool:
        return epoch == self.epoch and self.status == "processing"

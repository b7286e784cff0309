"""An execution: one call of a function, from the request to its only end.

A call that has retries may fail several times before it; what is left undone in the end is a dead letter, which can be
redriven: asked for once more, as an execution of its own.
"""

from datetime import datetime
from typing import Any, ClassVar, Literal

import msgspec

from annals.domain.base import Aggregate, AggregateEvent, CreatedEvent, Key
from annals.domain.calls import Attempted, Header, Kept, Ran, Request, Status, Trigger, Written
from annals.domain.errors import (
    DeadLetterNotFound,
    ExecutionAlreadyEnded,
    ExecutionAlreadyExists,
    ExecutionInProgress,
    ExecutionNotFound,
    FunctionNotFound,
)
from annals.domain.policy import Retries
from annals.domain.ports import Reason

__all__ = ["Attempted", "Execution", "Header", "Kept", "Ran", "Request", "Status", "Trigger"]


class Execution(Aggregate):
    TOPIC: ClassVar[str] = "execution"

    class Event(AggregateEvent, frozen=True):
        pass

    class Requested(CreatedEvent, Event, frozen=True):
        """Accepted. With `epoch` 1 it is claimed by `worker` at once (a synchronous call), else it waits.

        A `pinned` one runs `deployment_id`; others run the deployment that is active, or chosen by a share of the
        traffic, when they begin: `deployment_id` is the one that was so when they were accepted. `slot` is the time of
        the function's schedule that it was requested for, `late` that this was long past. `retries` is the
        function's policy when the call was accepted, None where nothing is tried twice; `redrives` is a dead letter.
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
        request: Request
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
            aggregate.status, aggregate.worker, aggregate.epoch = "processing", self.worker, self.epoch
            aggregate.due_at = None

    class Completed(Event, frozen=True):
        """The code answered below 500; `headers` are those kept for display."""

        TOPIC: ClassVar[str] = "execution.completed"
        REQUIRES_PROJECT: ClassVar[bool] = False
        epoch: int
        status_code: int
        headers: list[Header]
        ran: Ran
        logs_digest: str = ""
        logs_size: int = 0
        errors_digest: str = ""
        errors_size: int = 0
        whole: list[Kept] = msgspec.field(default_factory=list)

        def apply(self, aggregate: "Execution") -> None:
            aggregate.status = "completed"

    class Failed(Attempted, Event, frozen=True):
        TOPIC: ClassVar[str] = "execution.failed"

        def apply(self, aggregate: "Execution") -> None:
            aggregate.status = "failed"

    class RetryScheduled(Attempted, Event, frozen=True, kw_only=True):
        """An attempt failed, and the next one is due at `due_at`."""

        TOPIC: ClassVar[str] = "execution.retry_scheduled"
        due_at: datetime

        def apply(self, aggregate: "Execution") -> None:
            aggregate.status, aggregate.due_at = "waiting", self.due_at
            if self.ran is not None:
                aggregate.routed_to = self.ran.deployment_id if self.ran.routed else ""

    class DeadLettered(Failed, frozen=True, kw_only=True):
        """The last attempt failed for `cause`; the input is kept, and the call can be redriven."""

        TOPIC: ClassVar[str] = "execution.dead_lettered"
        cause: Reason

        def apply(self, aggregate: "Execution") -> None:
            aggregate.status, aggregate.dead = "failed", True

    class Redriven(Event, frozen=True):
        """The dead letter is asked for once more, as another execution; it is none any more."""

        TOPIC: ClassVar[str] = "execution.redriven"
        execution_id: str

        def apply(self, aggregate: "Execution") -> None:
            aggregate.dead = False

    class Discarded(Event, frozen=True):
        """Nobody is going to redrive it."""

        TOPIC: ClassVar[str] = "execution.discarded"

        def apply(self, aggregate: "Execution") -> None:
            aggregate.dead = False

    class Canceled(Event, frozen=True):
        """With a `reason` nobody asked for it: its function went, and what its run writes is not kept."""

        TOPIC: ClassVar[str] = "execution.canceled"
        reason: Literal["", "function_deleted"] = ""

        def apply(self, aggregate: "Execution") -> None:
            aggregate.cut = aggregate.epoch if aggregate.status == "processing" and not self.reason else 0
            aggregate.status, aggregate.due_at = "failed", None

    class OutputKept(Written, Event, frozen=True):
        """What the run had written that a cancellation cut short; the execution has ended already."""

        TOPIC: ClassVar[str] = "execution.output_kept"

        def apply(self, aggregate: "Execution") -> None:
            aggregate.cut = 0

    class Deleted(Event, frozen=True):
        TOPIC: ClassVar[str] = "execution.deleted"

        def apply(self, aggregate: "Execution") -> None:
            aggregate.deleted = True

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
        request: Request,
        scheduled_at: datetime | None,
        worker: str,
        epoch: int,
        pinned: bool,
        slot: datetime | None,
        late: bool,
        retries: Retries | None,
        redrives: str,
    ) -> None:
        self.project_id, self.function_id, self.function_incarnation = project_id, function_id, function_incarnation
        self.function_version, self.execution_id, self.deployment_id = function_version, execution_id, deployment_id
        self.trigger, self.request, self.scheduled_at = trigger, request, scheduled_at
        self.worker, self.epoch, self.pinned = worker, epoch, pinned
        self.slot, self.late, self.retries, self.redrives = slot, late, retries, redrives
        self.due_at: datetime | None = None
        self.routed_to: str | None = None
        self.dead = False
        self.cut = 0
        self.status: Status = "processing" if epoch else ("scheduled" if scheduled_at else "waiting")

    @staticmethod
    def stream(project_id: str, execution_id: str) -> str:
        return f"execution:{project_id}:{execution_id}"

    @classmethod
    def key(cls, project_id: str, execution_id: str) -> Key:
        return Key(cls, cls.stream(project_id, execution_id), ExecutionNotFound)

    @classmethod
    def absent(cls, project_id: str, execution_id: str) -> Key:
        return Key(cls, cls.stream(project_id, execution_id), None)

    @classmethod
    def request_run(
        cls, former: "Execution | None", *, project_id: str, execution_id: str, worker: str = "", **facts: Any
    ) -> "Execution":
        """Accept a call, `facts` being those of `Requested`; `worker` names who runs it at once (synchronous), else it
        waits for one."""
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
            **facts,
        )

    @property
    def ended(self) -> bool:
        return self.status in {"completed", "failed"}

    def claim(self, worker: str) -> bool:
        """Take the run; false when it is taken or ended."""
        if self.status not in {"waiting", "scheduled"}:
            return False
        self.trigger_event(self.Claimed, worker=worker, epoch=self.epoch + 1)
        return True

    def complete(self, epoch: int, *, status_code: int, headers: list[Header], ran: Ran, **contents: Any) -> bool:
        """Record the code's answer; false when this claim no longer holds the run."""
        if not self._holds(epoch):
            return False
        self.trigger_event(self.Completed, epoch=epoch, status_code=status_code, headers=headers, ran=ran, **contents)
        return True

    def fail(self, epoch: int, reason: Reason, message: str, *, now: datetime, **facts: Any) -> bool:
        """Record that an attempt failed, `facts` being those of `Attempted`; false when this claim no longer holds it.

        Another attempt is due when the call's retries say so, else that was the end.
        """
        if not self._holds(epoch):
            return False
        facts |= {"epoch": epoch}
        if self.retries is None or not self.retries.retried(reason):
            self.trigger_event(self.Failed, reason=reason, message=message, **facts)
            return True
        due = self.retries.due_after(epoch, since=self.scheduled_at or self.created_on, now=now, name=self.id)
        if due is None:
            told = self.retries.given_up(epoch, reason, message)
            self.trigger_event(self.DeadLettered, reason="dead_lettered", cause=reason, message=told, **facts)
        else:
            self.trigger_event(self.RetryScheduled, reason=reason, message=message, due_at=due, **facts)
        return True

    def cancel(self) -> None:
        if self.ended:
            raise ExecutionAlreadyEnded
        self.trigger_event(self.Canceled)

    def abandon(self, incarnation: int) -> None:
        """End it with its function, which is gone, unless it has ended or belongs to a later one."""
        if not self.ended and self.function_incarnation == incarnation:
            self.trigger_event(self.Canceled, reason="function_deleted")

    def keep_output(self, epoch: int, **contents: Any) -> bool:
        """Record what a canceled run had written, once; false for another claim's, or where nothing was running."""
        if self.deleted or not epoch or epoch != self.cut:
            return False
        self.trigger_event(self.OutputKept, epoch=epoch, **contents)
        return True

    def redrive(self, execution_id: str) -> None:
        """Ask for a dead letter once more, as the execution of that id."""
        self._require_dead()
        self.trigger_event(self.Redriven, execution_id=execution_id)

    def discard(self) -> None:
        """Take it out of the dead letters, and keep the execution itself."""
        self._require_dead()
        self.trigger_event(self.Discarded)

    def _require_dead(self) -> None:
        if not self.dead:
            raise DeadLetterNotFound

    def require_function(self, function_id: str, incarnation: int) -> None:
        """Another function's execution does not exist for this one."""
        if self.function_id != function_id:
            raise ExecutionNotFound
        if self.function_incarnation != incarnation:
            raise FunctionNotFound

    def delete(self, *, stale: bool = False) -> None:
        """Remove an ended or scheduled execution; `stale` says its start lies past its timeout and its lease lapsed."""
        if not (self.ended or self.status == "scheduled" or stale):
            raise ExecutionInProgress
        self.trigger_event(self.Deleted)

    def _holds(self, epoch: int) -> bool:
        return epoch == self.epoch and self.status == "processing"

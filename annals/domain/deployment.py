"""A deployment: its source, and the build that makes it runnable.

One file because an aggregate and its events belong together.
"""

from typing import Any, ClassVar, Literal

from annals.domain.base import Aggregate, AggregateEvent, CreatedEvent, DeletionEvent
from annals.domain.errors import BuildAlreadyCompleted, BuildNotReady, DeploymentNotFound
from annals.domain.origin import UPLOADED, Origin, Remote
from annals.domain.ports import Artefact, BuildReason

Status = Literal["waiting", "processing", "building", "ready", "failed", "canceled"]
DeploymentType = Literal["manual", "cli", "vcs"]
OPEN: frozenset[str] = frozenset({"waiting", "processing", "building"})


class Deployment(Aggregate):
    TOPIC: ClassVar[str] = "deployment"
    MISSING = DeploymentNotFound

    class Event(AggregateEvent, frozen=True):
        pass

    class UploadStarted(CreatedEvent, Event, frozen=True):
        """A deployment exists; `size` is the announced size in bytes (with `remote` the source is fetched instead).

        `function_incarnation` is the position of the function's creation. A later function of that id inherits nothing.
        """

        TOPIC: ClassVar[str] = "deployment.upload_started"
        project_id: str
        function_id: str
        function_incarnation: int
        deployment_id: str
        type: DeploymentType
        entrypoint: str
        commands: str
        activate: bool
        size: int
        origin: Origin = UPLOADED
        duplicate_of: str = ""
        remote: Remote | None = None

    class SourceStored(Event, frozen=True):
        TOPIC: ClassVar[str] = "deployment.source_stored"
        source: Artefact

        def apply(self, aggregate: "Deployment") -> None:
            aggregate.source = self.source

    class SourceFetched(Event, frozen=True):
        """The source of a deployment with a `remote` was fetched; `origin` has the resolved commit."""

        TOPIC: ClassVar[str] = "deployment.source_fetched"
        epoch: int
        source: Artefact
        origin: Origin

        def apply(self, aggregate: "Deployment") -> None:
            aggregate.source = self.source
            aggregate.origin = self.origin

    class BuildQueued(Event, frozen=True):
        """A build is due: the first one, or another one after its worker was lost."""

        TOPIC: ClassVar[str] = "deployment.build_queued"
        reason: Literal["uploaded", "duplicated", "requested", "worker_lost"]

        def apply(self, aggregate: "Deployment") -> None:
            aggregate.status = "waiting"
            aggregate.queued = True

    class BuildClaimed(Event, frozen=True):
        TOPIC: ClassVar[str] = "deployment.build_claimed"
        worker: str
        epoch: int

        def apply(self, aggregate: "Deployment") -> None:
            aggregate.status = "processing"
            aggregate.worker = self.worker
            aggregate.epoch = self.epoch

    class BuildStarted(Event, frozen=True):
        """The build wrote its first output."""

        TOPIC: ClassVar[str] = "deployment.build_started"
        epoch: int

        def apply(self, aggregate: "Deployment") -> None:
            aggregate.status = "building"

    class BuildSucceeded(Event, frozen=True):
        """`seconds` is rounded up, at least 1 (http-api.md 8.1); `milliseconds` is the measured time."""

        TOPIC: ClassVar[str] = "deployment.build_succeeded"
        epoch: int
        artefact: Artefact
        seconds: int
        milliseconds: int
        specification: str
        logs_digest: str
        logs_size: int

        def apply(self, aggregate: "Deployment") -> None:
            aggregate.status = "ready"
            aggregate.artefact = self.artefact

    class BuildFailed(Event, frozen=True):
        TOPIC: ClassVar[str] = "deployment.build_failed"
        epoch: int
        reason: BuildReason
        message: str
        seconds: int
        milliseconds: int
        specification: str
        logs_digest: str
        logs_size: int

        def apply(self, aggregate: "Deployment") -> None:
            aggregate.status = "failed"

    class BuildCanceled(Event, frozen=True):
        """`seconds` since the start of the build, or 0. With a `reason` the deletion of its function canceled it."""

        TOPIC: ClassVar[str] = "deployment.build_canceled"
        seconds: int
        reason: Literal["", "function_deleted"] = ""

        def apply(self, aggregate: "Deployment") -> None:
            aggregate.status = "canceled"

    class Restored(Event, frozen=True):
        """The deployment has the artefact of a former one; there is no build."""

        TOPIC: ClassVar[str] = "deployment.restored"
        artefact: Artefact

        def apply(self, aggregate: "Deployment") -> None:
            aggregate.status = "ready"
            aggregate.artefact = self.artefact

    class Deleted(DeletionEvent, Event, frozen=True):
        TOPIC: ClassVar[str] = "deployment.deleted"

    def __init__(
        self,
        *,
        project_id: str,
        function_id: str,
        function_incarnation: int,
        deployment_id: str,
        type: DeploymentType,  # noqa: A002 - the contract's word
        entrypoint: str,
        commands: str,
        activate: bool,
        size: int,
        origin: Origin,
        remote: Remote | None = None,
    ) -> None:
        self.project_id = project_id
        self.function_id = function_id
        self.function_incarnation = function_incarnation
        self.deployment_id = deployment_id
        self.type = type
        self.origin = origin
        self.entrypoint = entrypoint
        self.commands = commands
        self.activate = activate
        self.size = size
        self.remote = remote
        self.source: Artefact | None = None
        self.artefact: Artefact | None = None
        self.status: Status = "waiting"
        self.queued = False
        self.worker = ""
        self.epoch = 0

    @classmethod
    def begin(
        cls,
        former: "Deployment | None",
        *,
        project_id: str,
        function_id: str,
        function_incarnation: int,
        deployment_id: str,
        **fields: Any,
    ) -> "Deployment":
        """Start a deployment; `fields` are the other fields of UploadStarted. Raises DeploymentNotFound for a used id.

        Several first chunks may start one upload at the same time: the later ones get the existing deployment. An open
        build of a former incarnation of the function ends first.
        """
        if former is not None and not former.deleted and former.function_incarnation == function_incarnation:
            if former.function_id != function_id:
                raise DeploymentNotFound
            return former
        if former is not None and not former.deleted:
            former.abandon(former.function_incarnation)
        begun = cls.start(
            cls.UploadStarted,
            cls.stream(project_id, deployment_id),
            former,
            project_id=project_id,
            function_id=function_id,
            function_incarnation=function_incarnation,
            deployment_id=deployment_id,
            **fields,
        )
        if former is not None:
            begun.pending_events[:0] = former.collect_events()
        return begun

    def queue_fetch(self) -> None:
        """Queue the fetch of the source and its build; a repeat is a no-op."""
        if self.source is None and self.status == "waiting" and not self.queued:
            self.trigger_event(self.BuildQueued, reason="requested")

    def store_fetched(self, epoch: int, source: Artefact, origin: Origin) -> bool:
        """Record the fetched source. False if another claim holds the build; a repeat is a no-op."""
        if not self._holds(epoch):
            return False
        if source != self.source:
            self.trigger_event(self.SourceFetched, epoch=epoch, source=source, origin=origin)
        return True

    def store_source(self, source: Artefact, *, duplicated: bool = False) -> None:
        """Record a complete source and queue its build; a repeat is a no-op."""
        if self.source is None and self.status == "waiting":
            self.trigger_event(self.SourceStored, source=source)
            self.trigger_event(self.BuildQueued, reason="duplicated" if duplicated else "uploaded")

    def restore(self, source: Artefact, artefact: Artefact) -> None:
        """Use the source and artefact of another deployment instead of a build."""
        self.trigger_event(self.SourceStored, source=source)
        self.trigger_event(self.Restored, artefact=artefact)

    def claim_build(self, worker: str) -> bool:
        """Claim the build. False if it is claimed, ended or not due."""
        if self.status != "waiting" or not self.queued:
            return False
        self.trigger_event(self.BuildClaimed, worker=worker, epoch=self.epoch + 1)
        return True

    def start_build(self, epoch: int) -> bool:
        if not self._holds(epoch) or self.status != "processing":
            return False
        self.trigger_event(self.BuildStarted, epoch=epoch)
        return True

    def complete_build(self, epoch: int, artefact: Artefact, *, milliseconds: int, **fields: Any) -> bool:
        """Record success; `fields` are the other fields of the event.

        False if this claim no longer holds the build: it was canceled, or another worker claimed it.
        """
        if not self._holds(epoch):
            return False
        seconds = whole_seconds(milliseconds)
        self.trigger_event(
            self.BuildSucceeded, epoch=epoch, artefact=artefact, seconds=seconds, milliseconds=milliseconds, **fields
        )
        return True

    def fail_build(
        self, epoch: int, reason: BuildReason, message: str, *, milliseconds: int = 0, **fields: Any
    ) -> bool:
        """Record failure; `fields` are the other fields of the event. False if this claim no longer holds the build."""
        if not self._holds(epoch):
            return False
        fields = {"specification": "", "logs_digest": "", "logs_size": 0, **fields}
        seconds = whole_seconds(milliseconds)
        self.trigger_event(
            self.BuildFailed,
            epoch=epoch, reason=reason, message=message, seconds=seconds, milliseconds=milliseconds, **fields,
        )  # fmt: skip
        return True

    def requeue_build(self, epoch: int) -> None:
        """Queue a lost worker's build again; the epoch rejects a late result of that worker."""
        if self._holds(epoch):
            self.trigger_event(self.BuildQueued, reason="worker_lost")

    def cancel_build(self, seconds: int) -> None:
        """Cancel an open build; a repeat is a no-op. Raises BuildAlreadyCompleted."""
        if self.status in OPEN:
            self.trigger_event(self.BuildCanceled, seconds=seconds)
        elif self.status != "canceled":
            raise BuildAlreadyCompleted

    def abandon(self, incarnation: int, seconds: int = 0) -> None:
        """End an open build of a deleted function, if it belongs to that incarnation."""
        if self.queued and self.status in OPEN and self.function_incarnation == incarnation:
            self.trigger_event(self.BuildCanceled, seconds=seconds, reason="function_deleted")

    def require_ready(self) -> None:
        """Raise BuildNotReady unless the build has succeeded."""
        if self.status != "ready":
            raise BuildNotReady.of(self.status)

    def require_function(self, function_id: str) -> None:
        """Raise DeploymentNotFound if another function has this deployment."""
        if self.function_id != function_id:
            raise DeploymentNotFound

    def delete(self) -> None:
        self.trigger_event(self.Deleted)

    def _holds(self, epoch: int) -> bool:
        return epoch == self.epoch and self.status in {"processing", "building"}


def whole_seconds(milliseconds: int) -> int:
    """Return seconds, rounded up, at least 1."""
    return max(1, -(-milliseconds // 1000))

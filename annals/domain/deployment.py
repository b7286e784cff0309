"""A deployment: an uploaded source and the build that makes it runnable."""

from typing import Any, ClassVar, Literal

from annals.domain.base import Aggregate, AggregateEvent, CreatedEvent, Key
from annals.domain.dates import whole_seconds
from annals.domain.errors import BuildAlreadyCompleted, BuildNotReady, DeploymentNotFound
from annals.domain.origin import UPLOADED, Origin, Remote
from annals.domain.ports import Artefact, BuildReason

Status = Literal["waiting", "processing", "building", "ready", "failed", "canceled"]
DeploymentType = Literal["manual", "cli", "vcs"]
OPEN: frozenset[str] = frozenset({"waiting", "processing", "building"})


class Deployment(Aggregate):
    TOPIC: ClassVar[str] = "deployment"

    class Event(AggregateEvent, frozen=True):
        pass

    class UploadStarted(CreatedEvent, Event, frozen=True):
        """A deployment exists; `size` is the announced size in bytes (with `remote` the source is fetched instead).
        `function_incarnation` is the position of the function's creation: a later one of its id inherits nothing."""

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
        """The source of a deployment with a `remote` is here; `origin` says what exactly was found."""

        TOPIC: ClassVar[str] = "deployment.source_fetched"
        epoch: int
        source: Artefact
        origin: Origin

        def apply(self, aggregate: "Deployment") -> None:
            aggregate.source, aggregate.origin = self.source, self.origin

    class BuildQueued(Event, frozen=True):
        """A build is due: the first one, or again after its worker was lost."""

        TOPIC: ClassVar[str] = "deployment.build_queued"
        reason: Literal["uploaded", "duplicated", "requested", "worker_lost"]

        def apply(self, aggregate: "Deployment") -> None:
            aggregate.status, aggregate.queued = "waiting", True

    class BuildClaimed(Event, frozen=True):
        TOPIC: ClassVar[str] = "deployment.build_claimed"
        worker: str
        epoch: int

        def apply(self, aggregate: "Deployment") -> None:
            aggregate.status, aggregate.worker, aggregate.epoch = "processing", self.worker, self.epoch

    class BuildStarted(Event, frozen=True):
        """The build's first output appeared."""

        TOPIC: ClassVar[str] = "deployment.build_started"
        epoch: int

        def apply(self, aggregate: "Deployment") -> None:
            aggregate.status = "building"

    class BuildSucceeded(Event, frozen=True):
        """`seconds` is rounded up to whole ones, at least 1 (http-api.md 8.1); `milliseconds` as measured."""

        TOPIC: ClassVar[str] = "deployment.build_succeeded"
        epoch: int
        artefact: Artefact
        seconds: int
        milliseconds: int
        specification: str
        logs_digest: str
        logs_size: int

        def apply(self, aggregate: "Deployment") -> None:
            aggregate.status, aggregate.artefact = "ready", self.artefact

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
        """`seconds` since the build started, 0 when it had not. With a `reason` its function went, and nobody asked."""

        TOPIC: ClassVar[str] = "deployment.build_canceled"
        seconds: int
        reason: Literal["", "function_deleted"] = ""

        def apply(self, aggregate: "Deployment") -> None:
            aggregate.status = "canceled"

    class Restored(Event, frozen=True):
        """What a former deployment had built answers again; nothing is built for it."""

        TOPIC: ClassVar[str] = "deployment.restored"
        artefact: Artefact

        def apply(self, aggregate: "Deployment") -> None:
            aggregate.status, aggregate.artefact = "ready", self.artefact

    class Deleted(Event, frozen=True):
        TOPIC: ClassVar[str] = "deployment.deleted"

        def apply(self, aggregate: "Deployment") -> None:
            aggregate.deleted = True

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
        self.project_id, self.function_id, self.function_incarnation = project_id, function_id, function_incarnation
        self.deployment_id, self.type, self.origin = deployment_id, type, origin
        self.entrypoint, self.commands, self.activate, self.size = entrypoint, commands, activate, size
        self.remote = remote
        self.source: Artefact | None = None
        self.artefact: Artefact | None = None
        self.status: Status = "waiting"
        self.queued = False
        self.worker, self.epoch = "", 0

    @staticmethod
    def stream(project_id: str, deployment_id: str) -> str:
        return f"deployment:{project_id}:{deployment_id}"

    @classmethod
    def key(cls, project_id: str, deployment_id: str) -> Key:
        return Key(cls, cls.stream(project_id, deployment_id), DeploymentNotFound)

    @classmethod
    def absent(cls, project_id: str, deployment_id: str) -> Key:
        return Key(cls, cls.stream(project_id, deployment_id), None)

    @classmethod
    def begin(
        cls,
        former: "Deployment | None",
        *,
        project_id: str,
        function_id: str,
        function_incarnation: int,
        deployment_id: str,
        **facts: Any,
    ) -> "Deployment":
        """Start a deployment; `facts` are the other fields of UploadStarted. An id in use is DeploymentNotFound; of
        several chunks that race to begin one upload, whoever comes second gets the one that is there. A build that went
        with a former incarnation of its function, and whose end is not recorded yet, ends first."""
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
            **facts,
        )
        if former is not None:
            begun.pending_events[:0] = former.collect_events()
        return begun

    def queue_fetch(self) -> None:
        """Let a worker fetch the source and build it; a repeat is a no-op."""
        if self.source is None and self.status == "waiting" and not self.queued:
            self.trigger_event(self.BuildQueued, reason="requested")

    def store_fetched(self, epoch: int, source: Artefact, origin: Origin) -> bool:
        """The source was fetched; false when this claim no longer holds the build; a repeat is a no-op."""
        if not self._holds(epoch):
            return False
        if source != self.source:
            self.trigger_event(self.SourceFetched, epoch=epoch, source=source, origin=origin)
        return True

    def store_source(self, source: Artefact, *, duplicated: bool = False) -> None:
        """The source is complete: queue its build; a repeat is a no-op."""
        if self.source is None and self.status == "waiting":
            self.trigger_event(self.SourceStored, source=source)
            self.trigger_event(self.BuildQueued, reason="duplicated" if duplicated else "uploaded")

    def restore(self, source: Artefact, artefact: Artefact) -> None:
        """Take over what another deployment had, instead of a build of one's own."""
        self.trigger_event(self.SourceStored, source=source)
        self.trigger_event(self.Restored, artefact=artefact)

    def claim_build(self, worker: str) -> bool:
        """Take the build; false when it is taken, ended or not due."""
        if self.status != "waiting" or not self.queued:
            return False
        self.trigger_event(self.BuildClaimed, worker=worker, epoch=self.epoch + 1)
        return True

    def start_build(self, epoch: int) -> bool:
        if not self._holds(epoch) or self.status != "processing":
            return False
        self.trigger_event(self.BuildStarted, epoch=epoch)
        return True

    def complete_build(self, epoch: int, artefact: Artefact, *, milliseconds: int, **facts: Any) -> bool:
        """Record success; `facts` are the other fields of the event. False when this claim no longer holds the build:
        it was canceled, or lost to another worker."""
        if not self._holds(epoch):
            return False
        seconds = whole_seconds(milliseconds)
        self.trigger_event(
            self.BuildSucceeded, epoch=epoch, artefact=artefact, seconds=seconds, milliseconds=milliseconds, **facts
        )
        return True

    def fail_build(self, epoch: int, reason: BuildReason, message: str, *, milliseconds: int = 0, **facts: Any) -> bool:
        """Record failure; `facts` are the other fields of the event. False when the claim no longer holds."""
        if not self._holds(epoch):
            return False
        facts = {"specification": "", "logs_digest": "", "logs_size": 0, **facts}
        seconds = whole_seconds(milliseconds)
        self.trigger_event(
            self.BuildFailed,
            epoch=epoch, reason=reason, message=message, seconds=seconds, milliseconds=milliseconds, **facts,
        )  # fmt: skip
        return True

    def requeue_build(self, epoch: int) -> None:
        """Put a lost worker's build back in the queue; its late result will be refused by the epoch."""
        if self._holds(epoch):
            self.trigger_event(self.BuildQueued, reason="worker_lost")

    def cancel_build(self, seconds: int) -> None:
        """Cancel what has not ended; canceling twice is a no-op."""
        if self.status in OPEN:
            self.trigger_event(self.BuildCanceled, seconds=seconds)
        elif self.status != "canceled":
            raise BuildAlreadyCompleted

    def abandon(self, incarnation: int, seconds: int = 0) -> None:
        """End a build with its function, which is gone, unless it has ended or belongs to a later one."""
        if self.queued and self.status in OPEN and self.function_incarnation == incarnation:
            self.trigger_event(self.BuildCanceled, seconds=seconds, reason="function_deleted")

    def require_ready(self) -> None:
        if self.status != "ready":
            raise BuildNotReady.of(self.status)

    def require_function(self, function_id: str) -> None:
        """Another function's deployment does not exist for this one."""
        if self.function_id != function_id:
            raise DeploymentNotFound

    def delete(self) -> None:
        self.trigger_event(self.Deleted)

    def _holds(self, epoch: int) -> bool:
        return epoch == self.epoch and self.status in {"processing", "building"}

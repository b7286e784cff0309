"""How facts change what was used: pure bookkeeping, of a follower's batch or of a reader's tail (http-api.md 11)."""

from collections import defaultdict
from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from annals.domain.catalogue import SPECIFICATIONS
from annals.domain.deployment import Deployment
from annals.domain.execution import Execution
from annals.domain.function import Function
from annals.domain.project import Project
from annals.store.log.reader import RecordedEvent

_BUCKET_MINUTES = 15


class Line(NamedTuple):
    """What a delta is booked under."""

    project_id: str
    function_id: str
    function_sequence: int
    bucket: datetime
    metric: str


class Keys(NamedTuple):
    """What the cube tells apart besides a function, where it is known."""

    deployment_id: str = ""
    trigger: str = ""
    status: str = ""
    reason: str = ""
    specification: str = ""


NOTHING_ELSE = Keys()


class Owner(NamedTuple):
    function_id: str
    function_sequence: int


class Remembered(NamedTuple):
    """A deployment that exists."""

    owner: Owner
    source_bytes: int


class Beginning(msgspec.Struct):
    """What is needed of how an execution or a function began."""

    function_id: str
    function_incarnation: int = 0
    trigger: str = ""


class Changes:
    """What a batch of facts does: deltas, deployments to remember or forget, projects that are gone."""

    def __init__(self, deployments: dict[tuple[str, str], Remembered], beginnings: dict[str, Beginning]) -> None:
        self.deltas: defaultdict[Line, float] = defaultdict(float)
        self.deployments = deployments
        self.touched: set[tuple[str, str]] = set()
        self.projects: set[str] = set()
        self._beginnings = beginnings

    def apply(self, recorded_event: RecordedEvent) -> None:
        """Book one fact; facts come in the order of the log."""
        event: Any = recorded_event.event
        match event:
            case Execution.Requested():
                self._begins(event, event.function_incarnation, event.trigger)
            case Execution.Completed() | Execution.Failed() | Execution.Canceled():
                self._execution_ended(recorded_event, event)
            case Execution.RetryScheduled():
                self._attempt_failed(recorded_event, event)
            case Function.Created():
                self._begins(event, recorded_event.position)
                self._add(recorded_event, Owner(event.function_id, recorded_event.position), functions=1)
            case Function.Deleted():
                self._function_deleted(recorded_event, event)
            case Deployment.UploadStarted():
                owner = Owner(event.function_id, event.function_incarnation)
                self._remember(recorded_event.project, event.deployment_id, Remembered(owner, 0))
                self._add(recorded_event, owner, Keys(event.deployment_id), deployments=1)
            case Deployment.SourceStored() | Deployment.SourceFetched():
                self._source_stored(recorded_event, event)
            case Deployment.BuildSucceeded() | Deployment.BuildFailed():
                self._build_ended(recorded_event, event)
            case Deployment.Deleted():
                self._deployment_deleted(recorded_event, own_id(event))
            case Project.Deleted():
                self._project_deleted(recorded_event.project)

    def _begins(self, event: Execution.Requested | Function.Created, incarnation: int, trigger: str = "") -> None:
        self._beginnings[event.originator_id] = Beginning(event.function_id, incarnation, trigger)

    def _execution_ended(
        self, recorded_event: RecordedEvent, event: Execution.Completed | Execution.Failed | Execution.Canceled
    ) -> None:
        began = self._beginnings[event.originator_id]
        ran = None if isinstance(event, Execution.Canceled) else event.ran
        slug, milliseconds = ("", 0) if ran is None else (ran.specification, ran.run_ms)
        completed = isinstance(event, Execution.Completed)
        reason = event.reason if isinstance(event, Execution.Failed) else ("" if completed else "canceled")
        self._add(
            recorded_event,
            Owner(began.function_id, began.function_incarnation),
            Keys(
                "" if ran is None else ran.deployment_id,
                began.trigger,
                "completed" if completed else "failed",
                reason,
                slug,
            ),
            executions=1,
            executions_time_ms=milliseconds,
            executions_mb_seconds=megabyte_seconds(slug, milliseconds),
        )

    def _attempt_failed(self, recorded_event: RecordedEvent, event: Execution.RetryScheduled) -> None:
        """What an attempt used counts, though its execution has not ended."""
        if (ran := event.ran) is None:
            return
        began = self._beginnings[event.originator_id]
        self._add(
            recorded_event,
            Owner(began.function_id, began.function_incarnation),
            Keys(ran.deployment_id, began.trigger, "failed", event.reason, ran.specification),
            executions_time_ms=ran.run_ms,
            executions_mb_seconds=megabyte_seconds(ran.specification, ran.run_ms),
        )

    def _function_deleted(self, recorded_event: RecordedEvent, event: Function.Deleted) -> None:
        began = self._beginnings[event.originator_id]
        self._add(recorded_event, Owner(began.function_id, began.function_incarnation), functions=-1)
        for project_id, deployment_id in list(self.deployments):
            if project_id == recorded_event.project:
                remembered = self.deployments[project_id, deployment_id]
                if remembered.owner.function_id == began.function_id:
                    self._deployment_deleted(recorded_event, deployment_id)

    def _source_stored(
        self, recorded_event: RecordedEvent, event: Deployment.SourceStored | Deployment.SourceFetched
    ) -> None:
        deployment_id = own_id(event)
        remembered = self.deployments.get((recorded_event.project, deployment_id))
        if remembered is not None:
            self._remember(recorded_event.project, deployment_id, remembered._replace(source_bytes=event.source.size))
            self._add(recorded_event, remembered.owner, Keys(deployment_id), deployments_storage=event.source.size)

    def _build_ended(
        self, recorded_event: RecordedEvent, event: Deployment.BuildSucceeded | Deployment.BuildFailed
    ) -> None:
        deployment_id = own_id(event)
        remembered = self.deployments.get((recorded_event.project, deployment_id))
        if remembered is None:
            return
        ready = isinstance(event, Deployment.BuildSucceeded)
        milliseconds = event.seconds * 1000
        self._add(
            recorded_event,
            remembered.owner,
            Keys(
                deployment_id,
                status="ready" if ready else "failed",
                reason="" if isinstance(event, Deployment.BuildSucceeded) else event.reason,
                specification=event.specification,
            ),
            builds=1,
            builds_success=int(ready),
            builds_failed=int(not ready),
            builds_storage=event.artefact.size if isinstance(event, Deployment.BuildSucceeded) else 0,
            builds_time_ms=milliseconds,
            builds_mb_seconds=megabyte_seconds(event.specification, milliseconds),
        )

    def _deployment_deleted(self, recorded_event: RecordedEvent, deployment_id: str) -> None:
        remembered = self.deployments.pop((recorded_event.project, deployment_id), None)
        if remembered is not None:
            self.touched.add((recorded_event.project, deployment_id))
            size = remembered.source_bytes
            self._add(recorded_event, remembered.owner, Keys(deployment_id), deployments=-1, deployments_storage=-size)

    def _project_deleted(self, project_id: str) -> None:
        self.projects.add(project_id)
        for line in [line for line in self.deltas if line.project_id == project_id]:
            del self.deltas[line]
        for key in [key for key in self.deployments if key[0] == project_id]:
            del self.deployments[key]

    def _remember(self, project_id: str, deployment_id: str, remembered: Remembered) -> None:
        self.deployments[project_id, deployment_id] = remembered
        self.touched.add((project_id, deployment_id))

    def _add(
        self, recorded_event: RecordedEvent, owner: Owner, _keys: Keys = NOTHING_ELSE, /, **metrics: float
    ) -> None:
        bucket = bucket_of(recorded_event.recorded_at)
        for metric, value in metrics.items():
            if value:
                self.deltas[Line(recorded_event.project, *owner, bucket, metric)] += value


def megabyte_seconds(slug: str, milliseconds: int) -> int:
    """Memory by time by cores, as a whole number; nothing for work that never had an instance."""
    size = SPECIFICATIONS.get(slug)
    return 0 if size is None else int(size.memory * milliseconds * size.cpus / 1000)


def bucket_of(moment: datetime) -> datetime:
    """The beginning of the quarter of an hour that a moment lies in."""
    return moment.replace(minute=moment.minute - moment.minute % _BUCKET_MINUTES, second=0, microsecond=0)


def own_id(event: Any) -> str:
    """The id that a stream's event is of, without its project."""
    return str(event.originator_id).split(":")[2]

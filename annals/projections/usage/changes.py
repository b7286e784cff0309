"""How events change usage: the cells of the cube, as a follower books them and as readers count newer events.

Pure bookkeeping (http-api.md 11). A cell counts everything of one minute with the same keys, and how long calls took.

One file because cells are the only product of these changes.
"""

from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from annals.domain.catalogue import SPECIFICATIONS
from annals.domain.deployment import Deployment
from annals.domain.execution import Execution
from annals.domain.function import Function
from annals.domain.project import Project
from annals.projections.usage import sketch
from annals.store.log.reader import RecordedEvent
from annals.store.postgres.database import Row

_BUCKET_MINUTES = 15

KEYS = (
    "project_id", "function_id", "function_sequence", "deployment_id", "trigger", "status", "reason", "specification",
    "minute",
)  # fmt: skip

CALLS = "call"
"""The cube of functions and triggers."""

TOTALS = (
    "functions", "deployments", "deployments_storage", "builds", "builds_success", "builds_failed", "builds_storage",
    "builds_time_ms", "builds_mb_seconds", "executions", "executions_time_ms", "executions_mb_seconds",
)  # fmt: skip
"""The sums that are also kept over all time."""

SUMS = (
    *TOTALS, "errors", "cold_starts", "queue_ms",
)  # fmt: skip
"""All sums, by the names of their columns."""


class Cell(NamedTuple):
    """The keys of a cell."""

    project_id: str
    function_id: str
    function_sequence: int
    deployment_id: str
    trigger: str
    status: str
    reason: str
    specification: str
    minute: datetime


class Counted:
    """A cell's sums, the bins of its calls' durations, and its newest position."""

    __slots__ = ("bins", "position", "sums")

    def __init__(self) -> None:
        self.sums: defaultdict[str, int] = defaultdict(int)
        self.bins: defaultdict[int, int] = defaultdict(int)
        self.position = 0


class Keys(NamedTuple):
    """The keys of a cell besides function and minute; empty where they do not apply."""

    deployment_id: str = ""
    trigger: str = ""
    status: str = ""
    reason: str = ""
    specification: str = ""


NO_KEYS = Keys()


class FunctionIncarnation(NamedTuple):
    """A function in one incarnation."""

    function_id: str
    function_sequence: int


class KnownDeployment(NamedTuple):
    """A deployment that exists."""

    owner: FunctionIncarnation
    source_bytes: int

    @classmethod
    def of(cls, row: Row) -> "KnownDeployment":
        return cls(FunctionIncarnation(row["function_id"], row["function_sequence"]), row["source_bytes"])


class StreamHead(msgspec.Struct):
    """The fields of an execution's or function's first event that usage needs."""

    function_id: str
    function_incarnation: int = 0
    trigger: str = ""


class UsageChanges:
    """The effect of events on usage: `cells`, deployments that were `touched`, and deleted `projects`.

    `deployments` are the existing deployments that the events may concern, by project and id, and `heads` the heads of
    their streams. Both are kept up to date.
    """

    def __init__(self, deployments: dict[tuple[str, str], KnownDeployment], heads: dict[str, StreamHead]) -> None:
        self.cells: defaultdict[Cell, Counted] = defaultdict(Counted)
        self.deployments = deployments
        self.touched: set[tuple[str, str]] = set()
        self.projects: set[str] = set()
        self._heads = heads

    def apply(self, recorded_event: RecordedEvent) -> None:
        """Count one event; events come in the order of the log."""
        event: Any = recorded_event.event
        match event:
            case Execution.Requested():
                self._add_head(event, event.function_incarnation, event.trigger)
            case Execution.Completed() | Execution.Failed() | Execution.Canceled():
                self._execution_ended(recorded_event, event)
            case Execution.RetryScheduled():
                self._attempt_failed(recorded_event, event)
            case Function.Created():
                self._add_head(event, recorded_event.position)
                self._add(recorded_event, FunctionIncarnation(event.function_id, recorded_event.position), functions=1)
            case Function.Deleted():
                self._function_deleted(recorded_event, event)
            case Deployment.UploadStarted():
                owner = FunctionIncarnation(event.function_id, event.function_incarnation)
                self._add_deployment(recorded_event.project, event.deployment_id, KnownDeployment(owner, 0))
                self._add(recorded_event, owner, Keys(event.deployment_id), deployments=1)
            case Deployment.SourceStored() | Deployment.SourceFetched():
                self._source_stored(recorded_event, event)
            case Deployment.BuildSucceeded() | Deployment.BuildFailed():
                self._build_ended(recorded_event, event)
            case Deployment.Deleted():
                self._deployment_deleted(recorded_event, own_id(event))
            case Project.Deleted():
                self._project_deleted(recorded_event.project)

    def _add_head(self, event: Execution.Requested | Function.Created, incarnation: int, trigger: str = "") -> None:
        self._heads[event.originator_id] = StreamHead(event.function_id, incarnation, trigger)

    def _execution_ended(
        self, recorded_event: RecordedEvent, event: Execution.Completed | Execution.Failed | Execution.Canceled
    ) -> None:
        head = self._heads[event.originator_id]
        ran = None if isinstance(event, Execution.Canceled) else event.ran
        slug, milliseconds = ("", 0) if ran is None else (ran.specification, ran.run_ms)
        completed = isinstance(event, Execution.Completed)
        reason = event.reason if isinstance(event, Execution.Failed) else ("" if completed else "canceled")
        self._add(
            recorded_event,
            FunctionIncarnation(head.function_id, head.function_incarnation),
            Keys(
                "" if ran is None else ran.deployment_id,
                head.trigger,
                "completed" if completed else "failed",
                reason,
                slug,
            ),
            executions=1,
            executions_time_ms=milliseconds,
            executions_mb_seconds=megabyte_seconds(slug, milliseconds),
        )

    def _attempt_failed(self, recorded_event: RecordedEvent, event: Execution.RetryScheduled) -> None:
        """Count what an attempt used, though its execution has not ended."""
        if (ran := event.ran) is None:
            return
        head = self._heads[event.originator_id]
        self._add(
            recorded_event,
            FunctionIncarnation(head.function_id, head.function_incarnation),
            Keys(ran.deployment_id, head.trigger, "failed", event.reason, ran.specification),
            executions_time_ms=ran.run_ms,
            executions_mb_seconds=megabyte_seconds(ran.specification, ran.run_ms),
        )

    def _function_deleted(self, recorded_event: RecordedEvent, event: Function.Deleted) -> None:
        head = self._heads[event.originator_id]
        self._add(recorded_event, FunctionIncarnation(head.function_id, head.function_incarnation), functions=-1)
        for project_id, deployment_id in list(self.deployments):
            if project_id == recorded_event.project:
                known = self.deployments[project_id, deployment_id]
                if known.owner.function_id == head.function_id:
                    self._deployment_deleted(recorded_event, deployment_id)

    def _source_stored(
        self, recorded_event: RecordedEvent, event: Deployment.SourceStored | Deployment.SourceFetched
    ) -> None:
        deployment_id = own_id(event)
        known = self.deployments.get((recorded_event.project, deployment_id))
        if known is not None:
            self._add_deployment(recorded_event.project, deployment_id, known._replace(source_bytes=event.source.size))
            self._add(recorded_event, known.owner, Keys(deployment_id), deployments_storage=event.source.size)

    def _build_ended(
        self, recorded_event: RecordedEvent, event: Deployment.BuildSucceeded | Deployment.BuildFailed
    ) -> None:
        deployment_id = own_id(event)
        known = self.deployments.get((recorded_event.project, deployment_id))
        if known is None:
            return
        ready = isinstance(event, Deployment.BuildSucceeded)
        milliseconds = event.seconds * 1000
        self._add(
            recorded_event,
            known.owner,
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
        known = self.deployments.pop((recorded_event.project, deployment_id), None)
        if known is not None:
            self.touched.add((recorded_event.project, deployment_id))
            size = known.source_bytes
            self._add(recorded_event, known.owner, Keys(deployment_id), deployments=-1, deployments_storage=-size)

    def _project_deleted(self, project_id: str) -> None:
        self.projects.add(project_id)
        for cell in [cell for cell in self.cells if cell.project_id == project_id]:
            del self.cells[cell]
        for key in [key for key in self.deployments if key[0] == project_id]:
            del self.deployments[key]

    def _add_deployment(self, project_id: str, deployment_id: str, known: KnownDeployment) -> None:
        self.deployments[project_id, deployment_id] = known
        self.touched.add((project_id, deployment_id))

    def _add(
        self, recorded_event: RecordedEvent, owner: FunctionIncarnation, keys: Keys = NO_KEYS, /, **metrics: float
    ) -> None:
        cell = Cell(recorded_event.project, *owner, *keys, recorded_event.recorded_at.replace(second=0, microsecond=0))
        counted = self.cells[cell]
        counted.position = recorded_event.position
        for metric, value in metrics.items():
            if value:
                counted.sums[metric] += int(value)
        if "executions" in metrics:
            self._count_call(counted, recorded_event.event)

    def _count_call(self, counted: Counted, event: Execution.Completed | Execution.Failed | Execution.Canceled) -> None:
        if not isinstance(event, Execution.Completed):
            counted.sums["errors"] += 1
        ran = None if isinstance(event, Execution.Canceled) else event.ran
        if ran is not None:
            counted.sums["cold_starts"] += ran.cold
            counted.sums["queue_ms"] += ran.queue_ms
            counted.bins[sketch.bin_of(ran.run_ms)] += 1


def megabyte_seconds(slug: str, milliseconds: int) -> int:
    """Return memory by time by cores, as a whole number; 0 for work that never had an instance."""
    size = SPECIFICATIONS.get(slug)
    return 0 if size is None else int(size.memory * milliseconds * size.cpus / 1000)


def bucket_of(moment: datetime) -> datetime:
    """Return the start of a moment's quarter of an hour."""
    return moment.replace(minute=moment.minute - moment.minute % _BUCKET_MINUTES, second=0, microsecond=0)


def own_id(event: Any) -> str:
    """Return the id in an event's stream, without its project."""
    return str(event.originator_id).split(":")[2]


def rows(cells: Mapping[Cell, Counted]) -> list[dict[str, Any]]:
    """Return cells as rows of JSON, without sums that are zero."""
    return [
        {
            **cell._asdict(),
            **{name: value for name, value in counted.sums.items() if value},
            "sketch": sketch.write(counted.bins),
            "position": counted.position,
        }
        for cell, counted in cells.items()
    ]


def columns(cells: Mapping[Cell, Counted]) -> dict[str, Any]:
    """Return cells as arrays by column, which the statements unnest."""
    found: dict[str, Any] = {name: [getattr(cell, name) for cell in cells] for name in KEYS}
    found |= {name: [counted.sums[name] for counted in cells.values()] for name in SUMS}
    found["sketch"] = [sketch.write(counted.bins) for counted in cells.values()]
    found["position"] = [counted.position for counted in cells.values()]
    return found

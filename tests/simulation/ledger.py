"""The invariants of every commit, checked by a separate small state machine instead of the domain's.

`Caps` checks that no function has more running executions than its limit.
"""

from collections.abc import Callable, Iterable
from typing import Any

from annals.domain.deployment import Deployment
from annals.domain.execution import Execution
from annals.domain.function import Function
from annals.store.log.mapper import EventMapper
from tests.simulation.transactions import Row

_OPEN = {"waiting", "processing", "building"}
_MAPPER = EventMapper()

_NEW_SECONDS = 1.5
"""How long a worker may not know a function's first limit. Executions requested before that may start."""

_CALL_SECONDS = 30.0
"""The same for a synchronous execution, whose process may have been frozen after it read the limit."""


class Caps:
    """A check of each committed event; violations go to `fail`. `most_at_once` has the limit by function."""

    def __init__(self, fail: Callable[[str], None]) -> None:
        self._fail = fail
        self._most: dict[str, int] = {}
        self._since: dict[str, float] = {}
        self._function: dict[str, str] = {}
        self._asked: dict[str, float] = {}
        self._running: dict[str, set[str]] = {}
        self.most_at_once: dict[str, int] = {}

    def apply(self, event: Any, now: float) -> None:
        stream = event.originator_id
        match event:
            case Function.Created() | Function.Deleted():
                self._most.pop(stream, None)
            case Function.PolicyChanged():
                most = event.policy.scaling.concurrency
                if most and not self._most.get(stream):
                    self._since[stream] = now
                self._most[stream] = most
            case Execution.Requested():
                self._function[stream] = Function.stream(event.project_id, event.function_id)
                self._asked[stream] = now - (_CALL_SECONDS - _NEW_SECONDS if event.epoch else 0)
                if event.epoch:
                    self._begin(stream)
            case Execution.Claimed():
                self._begin(stream)
            case Execution.RetryScheduled() | Execution.Deleted():
                self._end(stream)
            case Execution.Completed() | Execution.Failed() | Execution.Canceled():
                self._end(stream)

    def _end(self, stream: str) -> None:
        self._running.get(self._function[stream], set()).discard(stream)

    def _begin(self, stream: str) -> None:
        function = self._function[stream]
        running = self._running.setdefault(function, set())
        running.add(stream)
        self.most_at_once[function] = max(self.most_at_once.get(function, 0), len(running))
        most = self._most.get(function, 0)
        known = self._asked[stream] >= self._since.get(function, 0.0) + _NEW_SECONDS
        if most and known and len(running) > most:
            self._fail(f"{stream} is concurrent execution {len(running)} of {function}, whose limit is {most}")


class Stream:
    """One incarnation of a stream."""

    def __init__(self, created: Any, position: int, status: str) -> None:
        self.created, self.position, self.status = created, position, status
        self.epoch = self.cut = 0
        self.ends = 0
        self.deleted = False
        self.ready = self.queued = False


class Ledger:
    """A check of each commit that calls `fail` with each violation. `streams` holds their present state."""

    def __init__(self, fail: Callable[[str], None], clock: Callable[[], float] | None = None) -> None:
        """Create a ledger. `clock` is a clock that no fault sets; without it the database's clock counts."""
        self._fail, self._clock, self.caps = fail, clock, Caps(fail)
        self.streams: dict[str, Stream] = {}
        self.versions: dict[str, int] = {}
        self.slots: dict[tuple[str, int, Any], str] = {}
        self.active: dict[str, str] = {}
        self.acknowledged: dict[tuple[str, int], str] = {}
        self.events: list[tuple[Row, Any]] = []
        self.wanting: dict[str, str] = {}
        """The newest deployment of each function that was requested with activation."""

    def committed(self, rows: list[Row]) -> None:
        """Check the events of one transaction."""
        batch = []
        for row in rows:
            stream, version = row["originator_id"], row["originator_version"]
            if version != self.versions.get(stream, 0) + 1:
                self._fail(f"{stream} has version {version} after {self.versions.get(stream, 0)}")
            self.versions[stream] = version
            event = _MAPPER.decode(stream, version, row["topic"], row["state"])
            self.events.append((row, event))
            batch.append((row, event))
            self._apply(row, event)
            self.caps.apply(event, self._clock() if self._clock is not None else row["recorded_at"].timestamp())
        self._judge_activation(batch)

    def acknowledge(self, events: Any, known: Callable[[str, int], Row | None]) -> None:
        """Check that events which a client saw as recorded are in the log with the same content."""
        for event in events:
            stream, version = event.originator_id, event.originator_version
            row = known(stream, version)
            if row is None or row["topic"] != event.TOPIC:
                self._fail(f"acknowledged, but not recorded: {event.TOPIC} as version {version} of {stream}")
            self.acknowledged[stream, version] = event.TOPIC

    def _apply(self, row: Row, event: Any) -> None:
        if isinstance(event, Execution.Event):
            self._execution(row, event)
        elif isinstance(event, Deployment.Event):
            self._deployment(row, event)
        elif isinstance(event, Function.Event):
            self._function(row, event)

    def _begin(self, row: Row, event: Any, status: str) -> Stream:
        former = self.streams.get(event.originator_id)
        if former is not None and not former.deleted:
            self._fail(f"{event.originator_id} was created twice")
        made = self.streams[event.originator_id] = Stream(event, row["notification_id"], status)
        return made

    def _require(self, valid: bool, event: Any, stream: Stream) -> None:
        if not valid or stream.deleted:
            epoch = getattr(event, "epoch", "")
            self._fail(
                f"{event.TOPIC} (epoch {epoch}) on {event.originator_id} that is {stream.status} in epoch"
                f" {stream.epoch}{', deleted' if stream.deleted else ''}"
            )

    def _end(self, event: Any, stream: Stream, status: str) -> None:
        stream.ends += 1
        if stream.ends > 1:
            self._fail(f"{event.originator_id} has ended {stream.ends} times")
        stream.status = status

    def _execution(self, row: Row, event: Any) -> None:
        if isinstance(event, Execution.Requested):
            status = "processing" if event.epoch else ("scheduled" if event.scheduled_at else "waiting")
            self._begin(row, event, status).epoch = event.epoch
            self._slot(event)
            return
        stream = self.streams[event.originator_id]
        holds = stream.status == "processing"
        match event:
            case Execution.Claimed():
                fresh = stream.status in {"waiting", "scheduled"} and event.epoch == stream.epoch + 1
                self._require(fresh, event, stream)
                stream.status, stream.epoch = "processing", event.epoch
            case Execution.RetryScheduled():
                self._require(holds and event.epoch == stream.epoch, event, stream)
                self.judge_origin(event)
                stream.status = "waiting"
            case Execution.Completed() | Execution.Failed():
                self._require(holds and event.epoch == stream.epoch, event, stream)
                self.judge_origin(event)
                self._end(event, stream, "ended")
            case Execution.Canceled():
                self._require(stream.status != "ended", event, stream)
                stream.cut = stream.epoch if holds else 0
                self._end(event, stream, "ended")
            case Execution.OutputKept():
                self._require(event.epoch == stream.cut, event, stream)
                stream.cut = 0
            case Execution.Deleted():
                self._require(True, event, stream)
                stream.deleted = True

    def judge_origin(self, event: Any) -> None:
        """Check that an outcome belongs to the run of its claim epoch, which the simulated host names."""
        if event.ran is not None and event.ran.host not in {"", f"epoch-{event.epoch}"}:
            self._fail(f"{event.originator_id} recorded the outcome of {event.ran.host} as epoch {event.epoch}")

    def _slot(self, event: Execution.Requested) -> None:
        if event.slot is None:
            return
        key = (event.function_id, event.function_incarnation, event.slot)
        if key in self.slots:
            self._fail(f"slot {event.slot} of {event.function_id} ran twice: {self.slots[key]}, {event.execution_id}")
        self.slots[key] = event.execution_id

    def _deployment(self, row: Row, event: Any) -> None:
        if isinstance(event, Deployment.UploadStarted):
            self._begin(row, event, "uploading")
            if event.activate:
                self.wanting[Function.stream(event.project_id, event.function_id)] = event.originator_id
            return
        stream = self.streams[event.originator_id]
        holds = stream.status in {"processing", "building"} and getattr(event, "epoch", 0) == stream.epoch
        match event:
            case Deployment.BuildQueued(reason="worker_lost"):
                self._require(stream.status in {"processing", "building"}, event, stream)
                stream.status = "waiting"
            case Deployment.BuildQueued():
                self._require(stream.status == "uploading", event, stream)
                stream.status, stream.queued = "waiting", True
            case Deployment.BuildClaimed():
                self._require(stream.status == "waiting" and event.epoch == stream.epoch + 1, event, stream)
                stream.status, stream.epoch = "processing", event.epoch
            case Deployment.BuildStarted():
                self._require(holds and stream.status == "processing", event, stream)
                stream.status = "building"
            case Deployment.BuildSucceeded():
                self._require(holds, event, stream)
                self.judge_artefact(event)
                self._end(event, stream, "ready")
                stream.ready = True
            case Deployment.BuildFailed():
                self._require(holds, event, stream)
                self._end(event, stream, "failed")
            case Deployment.BuildCanceled():
                self._require(stream.status in _OPEN | {"uploading"}, event, stream)
                self._end(event, stream, "canceled")
            case Deployment.Deleted():
                self._require(True, event, stream)
                stream.deleted = True

    def judge_artefact(self, event: Deployment.BuildSucceeded) -> None:
        """Check that an artefact belongs to the build of its claim epoch, which its size names."""
        if event.artefact.size != 10 + event.epoch:
            self._fail(f"{event.originator_id} recorded another epoch's artefact as epoch {event.epoch}")

    def _function(self, row: Row, event: Any) -> None:
        if isinstance(event, Function.Created):
            self._begin(row, event, "there")
            self.active.pop(event.originator_id, None)
            self.wanting.pop(event.originator_id, None)
            return
        stream = self.streams[event.originator_id]
        self._require(True, event, stream)
        match event:
            case Function.DeploymentActivated():
                deployment = Deployment.stream(stream.created.project_id, event.deployment_id)
                known = self.streams.get(deployment)
                if known is None or not known.ready:
                    self._fail(f"{event.originator_id} activates {deployment}, which is not ready")
                elif event.reason == "built":
                    former = self.streams.get(self.active.get(event.originator_id, ""))
                    if former is not None and not former.deleted and former.position > known.position:
                        self._fail(f"{deployment} replaced a newer one, {former.created.deployment_id}")
                self.active[event.originator_id] = deployment
            case Function.DeploymentDeactivated():
                self.active.pop(event.originator_id, None)
            case Function.Deleted():
                stream.deleted = True

    def _judge_activation(self, batch: list[tuple[Row, Any]]) -> None:
        """Check that a successful build activates its deployment if it is the newest that requested it and no newer one
        is active.
        """
        for _, event in batch:
            if not isinstance(event, Deployment.BuildSucceeded):
                continue
            built = self.streams[event.originator_id]
            function = Function.stream(built.created.project_id, built.created.function_id)
            known = self.streams.get(function)
            if known is None or known.deleted or known.position != built.created.function_incarnation:
                continue
            active = self.streams.get(self.active.get(function, ""))
            newer = active is not None and not active.deleted and active.position > built.position
            due = self.wanting.get(function) == event.originator_id and not newer
            if due and self.active.get(function) != event.originator_id:
                self._fail(f"the newest build with activation, {event.originator_id}, is not active")


def other_versions(events: Iterable[Any]) -> list[str]:
    """Return the executions that ran with a version of their function outside their request and their end."""
    now: dict[str, int] = {}
    requested: dict[str, tuple[str, int]] = {}
    found = []
    for event in events:
        if isinstance(event, Function.Event):
            now[event.originator_id] = event.originator_version
        elif isinstance(event, Execution.Requested):
            function = Function.stream(event.project_id, event.function_id)
            requested[event.originator_id] = (function, event.function_version)
        elif isinstance(event, Execution.Completed):
            function, least = requested[event.originator_id]
            if not least <= event.ran.function_version <= now[function]:
                version = event.ran.function_version
                found.append(f"{event.originator_id} ran version {version}, expected {least} to {now[function]}")
    return found

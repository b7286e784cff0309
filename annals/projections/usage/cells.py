"""How facts change the cells of the usage cube: everything that is counted, by the minute, and how long calls took."""

from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from annals.domain.execution import Execution
from annals.projections.usage import sketch
from annals.projections.usage.deltas import NOTHING_ELSE, Beginning, Changes, Keys, Owner, Remembered
from annals.store.log.reader import RecordedEvent

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
"""What is also added up over all time."""

SUMS = (
    *TOTALS, "errors", "cold_starts", "queue_ms",
)  # fmt: skip
"""What is added up, by the names of the columns."""


class Cell(NamedTuple):
    """What is counted together."""

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
    """A cell's sums, the bins of its calls' durations, and the newest position it holds."""

    __slots__ = ("bins", "position", "sums")

    def __init__(self) -> None:
        self.sums: defaultdict[str, int] = defaultdict(int)
        self.bins: defaultdict[int, int] = defaultdict(int)
        self.position = 0


class CubeChanges(Changes):
    """What facts do to the cube. Sums over all time follow from it, so that no `deltas` are kept."""

    def __init__(self, deployments: dict[tuple[str, str], Remembered], beginnings: dict[str, Beginning]) -> None:
        super().__init__(deployments, beginnings)
        self.cells: defaultdict[Cell, Counted] = defaultdict(Counted)

    def _add(self, recorded_event: RecordedEvent, owner: Owner, keys: Keys = NOTHING_ELSE, /, **metrics: float) -> None:
        cell = Cell(recorded_event.project, *owner, *keys, recorded_event.recorded_at.replace(second=0, microsecond=0))
        counted = self.cells[cell]
        counted.position = recorded_event.position
        for metric, value in metrics.items():
            if value:
                counted.sums[metric] += int(value)
        if "executions" in metrics:
            self._ended(counted, recorded_event.event)

    def _ended(self, counted: Counted, event: Execution.Completed | Execution.Failed | Execution.Canceled) -> None:
        if not isinstance(event, Execution.Completed):
            counted.sums["errors"] += 1
        ran = None if isinstance(event, Execution.Canceled) else event.ran
        if ran is not None:
            counted.sums["cold_starts"] += ran.cold
            counted.sums["queue_ms"] += ran.queue_ms
            counted.bins[sketch.bin_of(ran.run_ms)] += 1

    def _project_deleted(self, project_id: str) -> None:
        super()._project_deleted(project_id)
        for cell in [cell for cell in self.cells if cell.project_id == project_id]:
            del self.cells[cell]


def rows(cells: Mapping[Cell, Counted]) -> list[dict[str, Any]]:
    """Cells as rows of JSON, what is nothing left out."""
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
    """Cells as the arrays that the statements unnest, by column."""
    found: dict[str, Any] = {name: [getattr(cell, name) for cell in cells] for name in KEYS}
    found |= {name: [counted.sums[name] for counted in cells.values()] for name in SUMS}
    found["sketch"] = [sketch.write(counted.bins) for counted in cells.values()]
    found["position"] = [counted.position for counted in cells.values()]
    return found

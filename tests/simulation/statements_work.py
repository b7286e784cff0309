"""The effects of the statements of the workers and of the keeper's duties."""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

from annals.application.executions.context import QUERIES as CONTEXT
from annals.capacity.slots import QUERIES as SLOTS
from annals.projections.schedules import QUERIES as SCHEDULES
from annals.store.log.build_demand import QUERIES as BUILD_SLOTS
from annals.workers.builds import QUERIES as BUILDS
from annals.workers.cleanup import QUERIES as RETENTION
from annals.workers.keeper import QUERIES as LEADING
from annals.workers.reaper import QUERIES as REAPER
from annals.workers.redelivery import QUERIES as REDELIVERY
from annals.workers.schedules import QUERIES as FIRING
from tests.simulation.transactions import Row, Tx, on

_BUILDING = {"processing", "building"}


def _held(tx: Tx) -> Iterator[Row]:
    yield from (row for _, row in tx.rows("executions") if row["status"] == "processing")
    yield from (row for _, row in tx.rows("deployments") if row["status"] in _BUILDING)


@on(REAPER["holding"])
def holding(tx: Tx, p: Any) -> list[Row]:
    return [{"worker": worker} for worker in dict.fromkeys(row["worker"] for row in _held(tx))]


@on(REAPER["held"])
def held(tx: Tx, p: Any) -> list[Row]:
    rows = (row for row in _held(tx) if row["worker"] in p["workers"])
    return [{name: row[name] for name in ("stream_id", "epoch", "worker")} for row in rows]


@on(REAPER["overdue"])
def overdue(tx: Tx, p: Any) -> list[Row]:
    rows = []
    for stream, row in tx.rows("executions"):
        function = _function(tx, row)
        limit = timedelta(seconds=(function["timeout"] if function else 0) + p["seconds"])
        if row["status"] == "processing" and row["started_at"] < tx.now - limit:
            rows.append({"stream_id": stream, "epoch": row["epoch"]})
    return rows


def _function(tx: Tx, row: Row) -> Row | None:
    function = tx.get("functions", f"function:{row['project_id']}:{row['function_id']}")
    return function if function is not None and function["sequence"] == row["function_sequence"] else None


def _waiting(runnable: Sequence[tuple[str, datetime, int]], p: Any, tenant: str = "") -> Row:
    oldest = sorted((since, sequence, stream) for stream, since, sequence in runnable)
    return {"lane": tenant, "total": len(runnable), "oldest": [stream for _, _, stream in oldest[: p["limit"]]]}


def full(tx: Tx, row: Row) -> bool:
    """Return True if an execution's function is at its concurrency limit."""
    most = _bound(_function(tx, row))
    mine = (row["project_id"], row["function_id"])
    running = [x for _, x in tx.rows("executions") if (x["project_id"], x["function_id"]) == mine]
    return bool(most) and sum(x["status"] == "processing" for x in running) >= most


@on(REDELIVERY["waiting_executions"])
def waiting_executions(tx: Tx, p: Any) -> list[Row]:
    tenant_queues: dict[str, list[tuple[str, datetime, int]]] = {}
    for stream, row in tx.rows("executions"):
        if row["status"] == "waiting" and (row["retry_at"] is None or row["retry_at"] <= tx.now):
            since = row["retry_at"] or row["created_at"]
        elif row["status"] == "scheduled" and row["scheduled_at"] <= tx.now:
            since = row["scheduled_at"]
        else:
            continue
        if not full(tx, row):
            tenant_queues.setdefault(row["project_id"], []).append((stream, since, row["sequence"]))
    return [_waiting(runnable, p, tenant) for tenant, runnable in tenant_queues.items()]


@on(BUILD_SLOTS["demand"])
def build_demand(tx: Tx, p: Any) -> list[Row]:
    leases = [row for _, row in tx.rows("leases")]
    capacity = {
        "slots": max(1, sum(row["build_slots"] for row in leases)),
        "reserve": sum(row["build_reserve"] for row in leases),
    }
    deployments = [row for _, row in tx.rows("deployments")]
    waiting: dict[str, Row] = {}
    for row in sorted(deployments, key=lambda row: (row["queued_at"] or tx.now, row["sequence"])):
        if row["status"] == "waiting" and row["queued_at"] is not None:
            waiting.setdefault(row["project_id"], row)
    running = Counter(row["project_id"] for row in deployments if row["status"] in _BUILDING)
    rows: list[Row] = []
    for project in [*waiting, *(project for project in running if project not in waiting)]:
        oldest = waiting.get(project)
        mine = [row for row in deployments if oldest and row["function_id"] == oldest["function_id"]]
        ended = sorted((row for row in mine if row["build_ended_at"] is not None), key=lambda row: int(row["sequence"]))
        seconds = max((row["build_duration"] for row in ended[-3:]), default=0)
        own = {"running": running[project], "waiting": oldest["stream_id"] if oldest else "", "seconds": seconds}
        rows.append({"project_id": project, **own, **capacity})
    return rows or [{"project_id": "", "running": 0, "waiting": "", "seconds": 0, **capacity}]


def _runnable(tx: Tx, row: Row) -> bool:
    if row["status"] == "scheduled":
        return bool(row["scheduled_at"] <= tx.now)
    return row["status"] == "waiting" and (row["retry_at"] is None or row["retry_at"] <= tx.now)


def _bound(function: Row | None) -> int:
    return int(function["policy"].get("scaling", {}).get("concurrency", 0)) if function is not None else 0


@on(SLOTS["bounded_functions"])
def bounded(tx: Tx, p: Any) -> list[Row]:
    rows = [row for _, row in tx.rows("functions") if _bound(row)]
    return [{name: row[name] for name in ("project_id", "function_id")} for row in rows]


@on(SLOTS["startable"])
def next_that_may_run(tx: Tx, p: Any) -> list[Row]:
    freed = set(zip(p["projects"], p["functions"], strict=True))
    found = []
    for _, function in tx.rows("functions"):
        own = (function["project_id"], function["function_id"])
        if own not in freed and not (p["all"] and function["policy"]):
            continue
        rows = [row for _, row in tx.rows("executions") if (row["project_id"], row["function_id"]) == own]
        free = max(_bound(function) - sum(row["status"] == "processing" for row in rows), 0)
        waiting = sorted((row for row in rows if _runnable(tx, row)), key=lambda row: int(row["sequence"]))
        found += waiting[: min(free, p["most"]) if _bound(function) else p["most"]]
    return [{"stream_id": row["stream_id"]} for row in found]


@on(REDELIVERY["causes"])
def causes(tx: Tx, p: Any) -> list[Row]:
    rows = []
    for stream in p["streams"]:
        found = [e for e in tx.stream(stream) if e["topic"] in p["topics"]]
        if found:
            rows.append({"stream": stream, "position": found[-1]["notification_id"], "state": found[-1]["state"]})
    return rows


@on(REDELIVERY["due_executions"])
def due_executions(tx: Tx, p: Any) -> list[Row]:
    due = []
    for stream, row in tx.rows("executions"):
        at = row["scheduled_at"] if row["status"] == "scheduled" else row["retry_at"]
        if at is not None and tx.now - timedelta(seconds=p["seconds"]) < at <= tx.now:
            due.append((at, row["sequence"], stream))
    return [{"stream_id": stream} for _, _, stream in sorted(due)[: p["limit"]]]


@on(FIRING["due_functions"])
def due_functions(tx: Tx, p: Any) -> list[Row]:
    rows = []
    for stream, schedule in tx.rows("schedules"):
        function = tx.get("functions", stream)
        if function is None or schedule["schedule_next"] is None or schedule["schedule_next"] > tx.now:
            continue
        same = function["sequence"] == schedule["function_sequence"] and function["schedule"] == schedule["schedule"]
        if same and function["deployment_id"]:
            names = ("project_id", "function_id", "function_sequence", "schedule")
            row = {name: schedule[name] for name in names}
            own = {name: function[name] for name in ("version", "deployment_id", "policy")} | {"now": tx.now}
            rows.append((schedule["schedule_next"], {**row, **own}))
    return [row for _, row in sorted(rows, key=lambda one: one[0])[: p["limit"]]]


_SCHEDULE = ("stream_id", "project_id", "function_id", "function_sequence", "schedule", "deployment_id")
_SCHEDULE_ALL = (*_SCHEDULE, "schedule_next", "schedule_previous")


@on(SCHEDULES["rows"])
def schedule_rows(tx: Tx, p: Any) -> list[Row]:
    return [row for stream, row in tx.rows("schedules") if stream in p["streams"] or row["project_id"] in p["projects"]]


@on(SCHEDULES["forget"])
def schedules_forget(tx: Tx, p: Any) -> list[Row]:
    for stream in p["streams"]:
        tx.drop("schedules", stream)
    return []


@on(SCHEDULES["keep"])
def schedules_keep(tx: Tx, p: Any) -> list[Row]:
    for number, stream in enumerate(p["stream_id"]):
        tx.put("schedules", stream, {name: p[name][number] for name in _SCHEDULE_ALL})
    return []


@on(BUILDS["keep_piece"])
@on(BUILDS["drop_pieces"])
def build_pieces(tx: Tx, p: Any) -> list[Row]:
    return []


@on(BUILDS["activates"])
def activates(tx: Tx, p: Any) -> list[Row]:
    row = tx.get("deployments", p["stream"])
    function = _function(tx, row) if row is not None else None
    if row is None or function is None:
        return []
    active = tx.get("deployments", f"deployment:{row['project_id']}:{function['deployment_id']}")
    newer = active is not None and active["sequence"] > row["sequence"]
    return [{"activate": row["activate"], "answering": function["deployment_id"] if active else "", "newer": newer}]


def _context(tx: Tx, ordinal: int, function: Row | None, deployment: Row | None) -> list[Row]:
    project = tx.get("projects", f"project:{function['project_id']}") if function is not None else None
    if function is None or project is None:
        return []
    names = ("sequence", "version", "project_id", "function_id", "name", "runtime", "execute", "enabled", "logging")
    sizes = ("timeout", "scopes", "build_specification", "runtime_specification", "policy")
    row = {name: function[name] for name in (*names, *sizes)}
    row |= {"ord": ordinal, "stream_id": function["stream_id"], "project_version": project["variables_version"]}
    row |= {"provider_repository_id": "", "provider_root_directory": "", "deployment_stream": None}
    if deployment is None:
        return [row]
    own = ("deployment_id", "status", "type", "entrypoint", "commands", "activate", "build_size")
    keys = ("source_key", "source_digest", "source_size", "artefact_key", "artefact_digest")
    origin = [name for name in deployment if name.startswith("provider_")]
    row |= {name: deployment[name] for name in (*own, *keys, *origin)}
    row |= {"deployment_stream": deployment["stream_id"], "deployment_created_at": deployment["created_at"]}
    return [row]


@on(CONTEXT["active"])
def active(tx: Tx, p: Any) -> list[Row]:
    rows = []
    for ordinal, (project, function_id) in enumerate(zip(*p, strict=True), 1):
        function = tx.get("functions", f"function:{project}:{function_id}")
        deployment = function and tx.get("deployments", f"deployment:{project}:{function['deployment_id']}")
        rows += _context(tx, ordinal, function, deployment)
    return rows


@on(CONTEXT["of_deployment"])
def of_deployment(tx: Tx, p: Any) -> list[Row]:
    rows = []
    for ordinal, (project, deployment_id) in enumerate(zip(*p, strict=True), 1):
        deployment = tx.get("deployments", f"deployment:{project}:{deployment_id}")
        if deployment is not None:
            rows += _context(tx, ordinal, _function(tx, deployment), deployment)
    return rows


@on(CONTEXT["variables"])
def variables(tx: Tx, p: Any) -> list[Row]:
    function = tx.get("functions", p[0])
    project = tx.get("projects", f"project:{function['project_id']}") if function else None
    if function is None or project is None:
        return []
    row = {"sequence": function["sequence"], "version": function["version"]}
    empty: Row = {name: [] for name in ("ids", "functions", "keys", "sealed")}
    return [{**row, "project_version": project["variables_version"], **empty}]


@on(LEADING["forget_unread"])
def forget_unread(tx: Tx, p: Any) -> list[Row]:
    return []  # there is one version


@on("SELECT reason FROM holds WHERE name = %s")
def hold(tx: Tx, p: Any) -> list[Row]:
    return []


@on(RETENTION["orphaned_functions"])
def orphaned_functions(tx: Tx, p: Any) -> list[Row]:
    found = {
        row["function_sequence"]: None
        for _, row in tx.rows("executions")
        if (row["project_id"], row["function_id"]) == (p["project_id"], p["function_id"]) and _function(tx, row) is None
    }
    return [{"function_sequence": sequence} for sequence in found]


@on(RETENTION["next_step"])
def next_step(tx: Tx, p: Any) -> list[Row]:
    owner = (p["project_id"], p["function_id"], p["function_sequence"])
    found = sorted(
        row["sequence"]
        for _, row in tx.rows("executions")
        if (row["project_id"], row["function_id"], row["function_sequence"]) == owner and p["all"]
    )[: p["limit"]]
    return [{"up_to": found[-1] if found else None}]

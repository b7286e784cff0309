"""The effects of the statements of the executions' read model, including deletions and their cleanup."""

from typing import Any

from annals.application.deletion import QUERIES as ENDING
from annals.application.event_log import QUERIES as EVENT_LOG
from annals.projections.executions import QUERIES as EXECUTIONS
from tests.simulation.statements_models import change, columns, count, event_of, same_function
from tests.simulation.transactions import DeploymentGone, FunctionGone, Row, Tx, on

_ENDED = {"completed", "failed"}
_BUILDING = {"processing", "building"}
_EXECUTION_DEFAULTS: Row = {
    **dict.fromkeys(("reason", "message", "environment_digest", "specification", "dead_reason"), ""),
    **dict.fromkeys(
        ("response_status_code", "duration_ms", "queue_ms", "start_ms", "logs_version", "logs_size", "errors_size"), 0
    ),
    "response_headers": "[]",
    "cold": False,
    "retry_at": None,
}


@on(EVENT_LOG["function"])
def function_required(tx: Tx, p: Any) -> list[Row]:
    function = tx.get("functions", p["stream"])
    if function is None or function["sequence"] != p["incarnation"]:
        raise FunctionGone
    return []


@on(EVENT_LOG["place_back_of"])
def freed_slot_of(tx: Tx, p: Any) -> list[Row]:
    row = tx.get("executions", p["stream"])
    if row is not None and row["status"] == "processing":
        tx.freed_slots.append(f"{row['project_id']}:{row['function_id']}")
    return []


@on(EVENT_LOG["deployment"])
def deployment_required(tx: Tx, p: Any) -> list[Row]:
    if tx.get("deployments", p["stream"]) is None:
        raise FunctionGone
    return []


@on(EVENT_LOG["known_deployment"])
def known_deployment(tx: Tx, p: Any) -> list[Row]:
    if tx.get("deployments", p["stream"]) is None:
        raise DeploymentGone
    return []


@on(EXECUTIONS["requested"])
def requested(tx: Tx, p: Any) -> list[Row]:
    if tx.get("executions", p["stream"]) is not None:
        return []
    event = event_of(tx, p)
    at = event["recorded_at"]
    row = {
        "stream_id": p["stream"],
        "version": p["version"],
        "sequence": event["notification_id"],
        **columns(p, "function"),
        **_EXECUTION_DEFAULTS,
        "started_at": at if p["status"] == "processing" else None,
        "created_at": at,
        "updated_at": at,
    }
    function = tx.get("functions", p["function"])
    if function is not None and function["sequence"] == p["function_sequence"]:
        count(tx, function["project_id"], function["function_id"], "executions", 1)
    return [tx.put("executions", p["stream"], row)]


@on(EXECUTIONS["claimed"])
def claimed(tx: Tx, p: Any) -> list[Row]:
    change(tx, "executions", p, **columns(p), started_at=event_of(tx, p)["recorded_at"])
    return []


@on(EXECUTIONS["retry_scheduled"])
@on(EXECUTIONS["dead_letter_removed"])
@on(EXECUTIONS["output_kept"])
def changed_unseen(tx: Tx, p: Any) -> list[Row]:
    change(tx, "executions", p, **columns(p))
    return []


@on(EXECUTIONS["ended"])
@on(EXECUTIONS["ended_unrun"])
def ended(tx: Tx, p: Any) -> list[Row]:
    return change(tx, "executions", p, **columns(p))


@on(EXECUTIONS["deleted"])
def execution_deleted(tx: Tx, p: Any) -> list[Row]:
    row = tx.get("executions", p["stream"])
    if row is not None and row["version"] < p["version"]:
        tx.drop("executions", p["stream"])
        _uncount(tx, row["project_id"], row["function_id"], row["function_sequence"], 1)
    return []


def _uncount(tx: Tx, project: str, function_id: str, sequence: int, by: int) -> None:
    function = tx.get("functions", f"function:{project}:{function_id}")
    if function is not None and function["sequence"] == sequence:
        count(tx, project, function_id, "executions", -by)


@on(EXECUTIONS["swept"])
def swept(tx: Tx, p: Any) -> list[Row]:
    gone = [key for key, row in tx.rows("executions") if _in_sweep(row, p)]
    for key in gone:
        tx.drop("executions", key)
    _uncount(tx, p["project_id"], p["function_id"], p["function_sequence"], len(gone))
    return []


def _in_sweep(row: Row, p: Any) -> bool:
    owner = (row["project_id"], row["function_id"], row["function_sequence"])
    mine = owner == (p["project_id"], p["function_id"], p["function_sequence"])
    return mine and row["sequence"] <= p["up_to"] and (p["all"] or row["status"] in _ENDED)


@on(EVENT_LOG["contents_of_stream"])
def contents_of_stream(tx: Tx, p: Any) -> list[Row]:
    _discard(tx, p["stream"], p["version"])
    return []


@on(EVENT_LOG["contents_of_swept"])
def contents_of_swept(tx: Tx, p: Any) -> list[Row]:
    for key, row in tx.rows("executions"):
        if _in_sweep(row, p):
            _discard(tx, key, row["version"])
    return []


@on(EVENT_LOG["abandoned_builds"])
def abandoned_builds(tx: Tx, p: Any) -> list[Row]:
    function = tx.get("functions", p["stream"])
    for stream, row in tx.rows("deployments"):
        queued = row["status"] == "waiting" and row["queued_at"] is not None
        if function is not None and same_function(row, function) and (queued or row["status"] in _BUILDING):
            names = ("stream_id", "function_sequence", "project_id", "function_id", "build_started_at")
            tx.put("abandoned_builds", (stream, row["function_sequence"]), {name: row[name] for name in names})
    return []


@on(EVENT_LOG["contents_of_function"])
def contents_of_function(tx: Tx, p: Any) -> list[Row]:
    function = tx.get("functions", p["stream"])
    if function is not None:
        for key, row in tx.rows("deployments"):
            if same_function(row, function):
                _discard(tx, key, row["version"])
    return []


def _discard(tx: Tx, stream: str, version: int) -> None:
    for key, _ in tx.rows("contents"):
        if key[0] == stream and key[1] <= version:
            tx.drop("contents", key)


@on(EVENT_LOG["build_log"])
@on(EVENT_LOG["canceled_build_log"])
def build_log(tx: Tx, p: Any) -> list[Row]:
    return []


@on(ENDING["abandoned_builds"])
def noted_builds(tx: Tx, p: Any) -> list[Row]:
    found = [row for _, row in tx.rows("abandoned_builds") if _asked_for(row, p)]
    return sorted(found, key=lambda row: (row["function_sequence"], row["stream_id"]))[: p["limit"]]


def _asked_for(row: Row, p: Any) -> bool:
    return all(not p[name] or row[name] == p[name] for name in ("project_id", "function_id"))


@on(ENDING["builds_ended"])
def builds_ended(tx: Tx, p: Any) -> list[Row]:
    for key in zip(p["stream_id"], p["function_sequence"], strict=True):
        tx.drop("abandoned_builds", key)
    return []


@on(ENDING["abandoned_executions"])
def abandoned_executions(tx: Tx, p: Any) -> list[Row]:
    names = ("stream_id", "function_sequence", "sequence")
    found = [
        {name: row[name] for name in names}
        for _, row in tx.rows("executions")
        if row["status"] in {"scheduled", "waiting", "processing"} and row["sequence"] > p["after"]
        if _asked_for(row, p) and _orphaned(tx, row)
    ]
    return sorted(found, key=lambda row: row["sequence"])[: p["limit"]]


def _orphaned(tx: Tx, row: Row) -> bool:
    function = tx.get("functions", f"function:{row['project_id']}:{row['function_id']}")
    return function is None or function["sequence"] != row["function_sequence"]

"""The effects of the statements of the read models of functions and deployments, and of statements that all read models
share.
"""

from datetime import timedelta
from typing import Any

import msgspec

from annals.projections.deployments import QUERIES as DEPLOYMENTS
from annals.projections.functions import QUERIES as FUNCTIONS
from tests.simulation.transactions import Row, Tx, on

STEP = timedelta(milliseconds=1)

_DEPLOYMENT_DEFAULTS: Row = {
    **dict.fromkeys(("source_key", "source_digest", "artefact_key", "artefact_digest", "worker", "reason"), ""),
    **dict.fromkeys(("source_size", "build_size", "build_duration", "epoch", "logs_version"), 0),
    **dict.fromkeys(("build_started_at", "build_ended_at", "queued_at"), None),
}
_PROVIDER = {
    "provider_repository_name": "repository_name",
    "provider_repository_owner": "repository_owner",
    "provider_repository_url": "repository_url",
    "provider_commit_hash": "commit_hash",
    "provider_commit_author_url": "commit_author_url",
    "provider_commit_author": "commit_author",
    "provider_commit_message": "commit_message",
    "provider_commit_url": "commit_url",
    "provider_branch": "branch",
    "provider_branch_url": "branch_url",
    "provider_repository_id": "repository_id",
    "provider_root_directory": "root_directory",
}


def event_of(tx: Tx, p: Any) -> Row:
    event = tx.event(p["stream"], p["version"])
    assert event is not None
    return event


def count(tx: Tx, project: str, scope: str, name: str, by: int) -> None:
    key = (project, scope, name)
    row = tx.get("counters", key)
    if row is not None or by > 0:
        tx.put("counters", key, {"value": (row["value"] if row else 0) + by})


def change(tx: Tx, table: str, p: Any, **changes: Any) -> list[Row]:
    row = tx.get(table, p["stream"])
    if row is None or row["version"] >= p["version"]:
        return []
    updated = max(event_of(tx, p)["recorded_at"], row["updated_at"] + STEP)
    return [tx.put(table, p["stream"], {**row, **changes, "version": p["version"], "updated_at": updated})]


def columns(p: Any, *without: str) -> Row:
    return {name: value for name, value in p.items() if name not in {"stream", "version", *without}}


@on(FUNCTIONS["created"])
def function_created(tx: Tx, p: Any) -> list[Row]:
    if tx.get("functions", p["stream"]) is not None:
        return []
    event = event_of(tx, p)
    row = {
        "stream_id": p["stream"],
        "version": p["version"],
        "sequence": event["notification_id"],
        **columns(p),
        "policy": {},
        "live": True,
        "deployment_id": "",
        "deployment_created_at": None,
        "latest_deployment_id": "",
        "latest_deployment_created_at": None,
        "latest_deployment_status": "",
        "created_at": event["recorded_at"],
        "updated_at": event["recorded_at"],
    }
    count(tx, p["project_id"], "", "functions", 1)
    return [tx.put("functions", p["stream"], row)]


@on(FUNCTIONS["updated"])
def function_updated(tx: Tx, p: Any) -> list[Row]:
    return change(tx, "functions", p, **columns(p))


@on(FUNCTIONS["policy_changed"])
def policy_changed(tx: Tx, p: Any) -> list[Row]:
    row = tx.get("functions", p["stream"])
    if row is None or row["version"] >= p["version"]:
        return []
    changed = {"version": p["version"], "policy": msgspec.json.decode(p["policy"])}
    return [tx.put("functions", p["stream"], {**row, **changed})]


@on(FUNCTIONS["activated"])
def function_activated(tx: Tx, p: Any) -> list[Row]:
    row, deployment = tx.get("functions", p["stream"]), tx.get("deployments", p["deployment"])
    return change(
        tx,
        "functions",
        p,
        deployment_id=deployment["deployment_id"] if deployment else "",
        deployment_created_at=deployment["created_at"] if deployment else None,
        live=bool(row and row["live"]) or p["built"],
    )


@on(FUNCTIONS["deactivated"])
def function_deactivated(tx: Tx, p: Any) -> list[Row]:
    return change(tx, "functions", p, deployment_id="", deployment_created_at=None)


@on(FUNCTIONS["deleted"])
def function_deleted(tx: Tx, p: Any) -> list[Row]:
    row = tx.get("functions", p["stream"])
    if row is None or row["version"] >= p["version"]:
        return []
    tx.drop("functions", p["stream"])
    for key, deployment in tx.rows("deployments"):
        if (deployment["project_id"], deployment["function_id"]) == (row["project_id"], row["function_id"]):
            tx.drop("deployments", key)
    for key, _ in tx.rows("counters"):
        if key[:2] == (row["project_id"], row["function_id"]):
            tx.drop("counters", key)
    count(tx, row["project_id"], "", "functions", -1)
    return []


@on(FUNCTIONS["variables_of"])
def variables_of(tx: Tx, p: Any) -> list[Row]:
    return []


@on(DEPLOYMENTS["upload_started"])
def upload_started(tx: Tx, p: Any) -> list[Row]:
    function = tx.get("functions", p["function"])
    if function is None or function["sequence"] != p["function_sequence"]:
        return []
    if tx.get("deployments", p["stream"]) is not None:
        return []
    event = event_of(tx, p)
    made = {
        "stream_id": p["stream"],
        "version": p["version"],
        "sequence": event["notification_id"],
        "project_id": function["project_id"],
        "deployment_id": p["deployment_id"],
        "function_id": function["function_id"],
        "function_sequence": function["sequence"],
        **{name: p[name] for name in ("type", "entrypoint", "commands", "activate")},
        "status": "waiting",
        "upload_size": p["size"],
        **_DEPLOYMENT_DEFAULTS,
        **{column: p[name] for column, name in _PROVIDER.items()},
        "created_at": event["recorded_at"],
        "updated_at": event["recorded_at"],
    }
    if made["activate"]:
        for key, other in tx.rows("deployments"):
            if other["activate"] and same_function(other, function):
                updated = max(made["created_at"], other["updated_at"] + STEP)
                tx.put("deployments", key, {**other, "activate": False, "updated_at": updated})
    count(tx, function["project_id"], function["function_id"], "deployments", 1)
    latest = {"latest_deployment_id": made["deployment_id"], "latest_deployment_created_at": made["created_at"]}
    updated = max(made["created_at"], function["updated_at"] + STEP)
    status = {"latest_deployment_status": "waiting", "updated_at": updated}
    tx.put("functions", p["function"], {**function, **latest, **status})
    return [tx.put("deployments", p["stream"], made)]


def same_function(row: Row, function: Row) -> bool:
    return (row["project_id"], row["function_id"]) == (function["project_id"], function["function_id"])


@on(DEPLOYMENTS["changed"])
def moved(tx: Tx, p: Any) -> list[Row]:
    row = tx.get("deployments", p["stream"])
    if row is None or row["version"] >= p["version"]:
        return []
    at, moment = event_of(tx, p)["recorded_at"], p["moment"]
    names = {"artefact_size": "build_size", "seconds": "build_duration"}
    columns = ("status", "source_key", "source_digest", "source_size", "artefact_key", "artefact_digest")
    changes = {
        names.get(name, name): p[name]
        for name in (*columns, "artefact_size", "seconds", "worker", "epoch", "reason")
        if p[name] is not None
    }
    if p["logged"]:
        changes["logs_version"] = p["version"]
    if moment == "queued":
        changes |= {"queued_at": at, "build_started_at": None}
    elif moment in {"started", "ended"}:
        changes[f"build_{moment}_at"] = at
    (row,) = change(tx, "deployments", p, **changes)
    function_stream = f"function:{row['project_id']}:{row['function_id']}"
    function = tx.get("functions", function_stream)
    latest = function is not None and function["latest_deployment_id"] == row["deployment_id"]
    if function is not None and latest and function["latest_deployment_status"] != row["status"]:
        updated = max(row["updated_at"], function["updated_at"] + STEP)
        changed = {"latest_deployment_status": row["status"], "updated_at": updated}
        tx.put("functions", function_stream, {**function, **changed})
    return [row]


@on(DEPLOYMENTS["deleted"])
def deployment_deleted(tx: Tx, p: Any) -> list[Row]:
    row = tx.get("deployments", p["stream"])
    if row is None or row["version"] >= p["version"]:
        return []
    tx.drop("deployments", p["stream"])
    count(tx, row["project_id"], row["function_id"], "deployments", -1)
    function_stream = f"function:{row['project_id']}:{row['function_id']}"
    function = tx.get("functions", function_stream)
    if function is not None and function["latest_deployment_id"] == row["deployment_id"]:
        others = [other for _, other in tx.rows("deployments") if same_function(other, function)]
        newest = max(others, key=lambda other: int(other["sequence"]), default=None)
        latest = {
            "latest_deployment_id": newest["deployment_id"] if newest else "",
            "latest_deployment_created_at": newest["created_at"] if newest else None,
            "latest_deployment_status": newest["status"] if newest else "",
            "updated_at": max(event_of(tx, p)["recorded_at"], function["updated_at"] + STEP),
        }
        tx.put("functions", function_stream, {**function, **latest})
    return []

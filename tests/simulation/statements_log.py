"""The effects of the statements of the log, its followers and the process leases."""

from collections.abc import Iterator
from typing import Any

from annals.store.content.contents import QUERIES as CONTENTS
from annals.store.coordination.leases import QUERIES as LEASES
from annals.store.log.append_modes import QUERIES as APPEND
from annals.store.log.follower import QUERIES as FOLLOWER
from annals.store.log.reader import QUERIES as EVENTS
from annals.store.postgres.migrate import QUERIES as MIGRATIONS
from annals.store.postgres.standby import QUERIES as STANDBY
from tests.simulation.transactions import Row, StreamTaken, Tx, on

_POSITION = ("notification_id", "recorded_at")


@on(APPEND["lock"])
@on(STANDBY["barrier"])
@on("SELECT 1")
def nothing(tx: Tx, p: Any) -> list[Row]:
    return []


@on("SELECT now()")
def now(tx: Tx, p: Any) -> list[Row]:
    return [{"now": tx.now}]


@on(MIGRATIONS["is_applied"])
def is_applied(tx: Tx, p: Any) -> list[Row]:
    return [{"applied": True}]


@on(APPEND["free_slots"])
def free_slots(tx: Tx, p: Any) -> list[Row]:
    running = [row for _, row in tx.rows("executions") if row["status"] == "processing"]
    rows = []
    for project, function_id in zip(p["projects"], p["functions"], strict=True):
        function = tx.get("functions", f"function:{project}:{function_id}")
        most = function["policy"].get("scaling", {}).get("concurrency", 0) if function is not None else 0
        if most:
            own = [row for row in running if (row["project_id"], row["function_id"]) == (project, function_id)]
            rows.append({"project_id": project, "function_id": function_id, "free": most - len(own)})
    return rows


@on(APPEND["announce_freed_slot"])
def announce_freed_slot(tx: Tx, p: Any) -> list[Row]:
    tx.freed_slots.append(p["slot"])
    return []


@on(APPEND["insert"])
def insert(tx: Tx, p: Any) -> list[Row]:
    return [{name: row[name] for name in _POSITION} for row in (tx.append(*e) for e in _events(p))]


def _events(p: Any) -> Iterator[tuple[str, int, str, bytes]]:
    return zip(p["streams"], p["versions"], p["topics"], p["states"], strict=True)


@on(APPEND["insert_winners"])
def insert_winners(tx: Tx, p: Any) -> list[Row]:
    events = list(zip(p["requests"], _events(p), strict=True))
    lost = {request for request, event in events if tx.event(event[0], event[1]) is not None}
    rows = [tx.append(*event) for request, event in events if request not in lost]
    return [{name: row[name] for name in (*_POSITION, "originator_id", "originator_version")} for row in rows]


@on(APPEND["unchanged"])
def unchanged(tx: Tx, p: Any) -> list[Row]:
    for stream, version in zip(p["streams"], p["versions"], strict=True):
        if len(tx.stream(stream)) > version:
            raise StreamTaken
    return []


@on(APPEND["insert_contents"])
def insert_contents(tx: Tx, p: Any) -> list[Row]:
    names = ("streams", "versions", "kinds", "digests", "sizes", "data", "blobs")
    for stream, version, kind, digest, size, data, blob in zip(*(p[name] for name in names), strict=True):
        row = {"stream": stream, "version": version, "kind": kind, "digest": digest, "size": size}
        tx.put("contents", (stream, version, kind), {**row, "data": data, "blob": blob})
    return []


@on(APPEND["stored"])
def stored(tx: Tx, p: Any) -> list[Row]:
    found = [tx.event(stream, version) for stream, version in zip(p["streams"], p["versions"], strict=True)]
    return [row for row in found if row is not None]


@on(CONTENTS["newest"])
def newest_contents(tx: Tx, p: Any) -> list[Row]:
    newest: dict[str, Row] = {}
    for (stream, version, kind), row in tx.rows("contents"):
        if stream in p["streams"] and kind == p["kind"] and version >= newest.get(stream, row)["version"]:
            newest[stream] = row
    return [{name: row[name] for name in ("stream", "digest", "data", "blob")} for row in newest.values()]


@on(EVENTS["streams"])
def streams(tx: Tx, p: Any) -> list[Row]:
    rows: list[Row] = []
    for ordinal, (stream, shape) in enumerate(zip(p["streams"], p["shapes"], strict=True), 1):
        snapshot = tx.get("snapshots", stream) if shape else None
        if snapshot is not None and snapshot["shape"] == shape:
            rows.append({"ord": ordinal, "version": snapshot["version"], "topic": None, "state": snapshot["state"]})
        else:
            snapshot = None
        rows += [
            {"ord": ordinal, "version": e["originator_version"], "topic": e["topic"], "state": e["state"]}
            for e in tx.stream(stream)
            if snapshot is None or e["originator_version"] > snapshot["version"]
        ]
    return rows


@on(EVENTS["newest"])
def newest(tx: Tx, p: Any) -> list[Row]:
    log = tx.log()
    return [{"position": log[-1]["notification_id"] if log else 0}]


@on(EVENTS["put_snapshot"])
def put_snapshot(tx: Tx, p: Any) -> list[Row]:
    tx.put("snapshots", p["stream"], {name: p[name] for name in ("version", "shape", "state")})
    return []


@on(EVENTS["after"])
def after(tx: Tx, p: Any) -> list[Row]:
    return [row for row in tx.log() if row["notification_id"] > p["position"]][: p["limit"]]


@on(FOLLOWER["lock"])
def follower_lock(tx: Tx, p: Any) -> list[Row]:
    row = tx.get("checkpoints", p["name"])
    return [] if row is None else [row]


@on(FOLLOWER["add"])
def follower_add(tx: Tx, p: Any) -> list[Row]:
    if tx.get("checkpoints", p["name"]) is None:
        tx.put("checkpoints", p["name"], {"position": 0, "error": ""})
    return []


@on(FOLLOWER["move"])
def follower_move(tx: Tx, p: Any) -> list[Row]:
    tx.put("checkpoints", p["name"], {"position": p["position"], "error": ""})
    return []


@on(FOLLOWER["move_from"])
def follower_move_from(tx: Tx, p: Any) -> list[Row]:
    row = tx.get("checkpoints", p["name"])
    if row is None or row["position"] != p["former"]:
        return []
    return [tx.put("checkpoints", p["name"], {"position": p["position"], "error": ""})]


@on(LEASES["beat"])
def beat(tx: Tx, p: Any) -> list[Row]:
    row = tx.get("leases", p["holder"]) or {**p, "beats": 0, "started_at": tx.now}
    tx.put("leases", p["holder"], {**row, "beats": row["beats"] + 1, "doing": p["doing"]})
    return [{"beats": row["beats"] + 1}]


@on(LEASES["leave"])
def leave(tx: Tx, p: Any) -> list[Row]:
    tx.drop("leases", p["holder"])
    return []


@on(LEASES["holders"])
def holders(tx: Tx, p: Any) -> list[Row]:
    names = ("holder", "role", "host", "pid", "beats", "doing", "started_at")
    return [{name: row[name] for name in names} for _, row in tx.rows("leases")]


@on(LEASES["forget"])
def forget(tx: Tx, p: Any) -> list[Row]:
    for holder, beats in zip(p["holders"], p["beats"], strict=True):
        row = tx.get("leases", holder)
        if row is not None and row["beats"] == beats:
            tx.drop("leases", holder)
    return []

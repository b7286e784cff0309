"""Event patterns of functions (http-api.md 10.4), and the tree of their names."""

from collections.abc import Mapping
from typing import Any

_Node = Mapping[str, Any]


def _actions(*names: str) -> dict[str, _Node]:
    return {name: {} for name in names}


_WRITES = _actions("create", "update", "delete")
_RECORDS = _actions("create", "update", "upsert", "delete")


class _Resource(dict[str, Any]):
    """A level with ids: sub-resources, and actions with their attributes."""


def _resource(actions: Mapping[str, _Node], **below: _Node) -> _Resource:
    return _Resource({**actions, **below})


def _database(tables: str, rows: str, columns: str) -> dict[str, _Node]:
    return {
        tables: _resource(
            _WRITES, **{rows: _resource(_RECORDS), "indexes": _resource(_WRITES), columns: _resource(_WRITES)}
        )
    }


_CREATED_REMOVED = _actions("create", "delete")
_CREATED_UPDATED = _actions("create", "update")
_TABLES = _database("tables", "rows", "columns")
_COLLECTIONS = _database("collections", "documents", "attributes")
_USER_ATTRIBUTES = _actions(
    "email", "name", "password", "status", "prefs", "phone", "mfa", "labels", "verification", "impersonator"
)  # fmt: skip

TREE: Mapping[str, _Node] = {
    "users": _resource(
        {**_CREATED_REMOVED, "update": _USER_ATTRIBUTES},
        sessions=_resource(_CREATED_REMOVED),
        recovery=_resource(_CREATED_UPDATED),
        verification=_resource(_CREATED_UPDATED),
        targets=_resource(_WRITES),
        tokens=_resource(_actions("create")),
    ),
    "databases": _resource(_WRITES, **_TABLES, **_COLLECTIONS),
    "tablesdb": _resource(_WRITES, **_TABLES),
    "documentsdb": _resource(_WRITES, **_COLLECTIONS),
    "vectorsdb": _resource(_WRITES, **_COLLECTIONS),
    "buckets": _resource(_WRITES, files=_resource(_WRITES)),
    "teams": _resource(
        {**_CREATED_REMOVED, "update": _actions("prefs")},
        memberships=_resource({**_CREATED_REMOVED, "update": _actions("status")}),
    ),
    "sites": _resource(_WRITES, deployments=_resource(_WRITES)),
    "functions": _resource(_WRITES, deployments=_resource(_WRITES), executions=_resource(_WRITES)),
    "messages": _resource(_CREATED_UPDATED),
    "topics": _resource(_WRITES, subscribers=_resource(_CREATED_REMOVED)),
    "providers": _resource(_WRITES),
    "schedules": _resource(_actions("create")),
    "rules": _resource(_WRITES),
    "reports": _resource(_WRITES, insights=_resource(_WRITES)),
}
_MOST_PARTS = 7


def is_function_event(pattern: str) -> bool:
    """Return True for an event of functions. Functions may not trigger functions, which could repeat for ever."""
    return pattern.startswith("functions.")


def is_event_pattern(pattern: str) -> bool:
    """Return True for `type.id[.sub.id …][.action[.attribute]]` with names of the tree. Any id is accepted."""
    parts = pattern.split(".")
    if not 2 <= len(parts) <= _MOST_PARTS or not all(parts):
        return False
    level = TREE.get(parts[0])
    rest = parts[2:]
    while level is not None and len(rest) >= 2 and isinstance(level.get(rest[0]), _Resource):
        level, rest = level[rest[0]], rest[2:]
    if level is None or len(rest) > 2:
        return False
    return not rest or _is_action(level, rest)


def _is_action(level: _Node, rest: list[str]) -> bool:
    action = level.get(rest[0])
    if action is None or isinstance(action, _Resource):
        return False
    return len(rest) == 1 or rest[1] in action

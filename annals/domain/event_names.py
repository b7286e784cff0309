"""Event patterns of functions (http-api.md 10.4), and the names of events for subscribers (8.5)."""

from collections.abc import Callable, Mapping
from itertools import product
from typing import Any, NamedTuple

from annals.domain.team import Team
from annals.domain.user import User

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


class NamedEvent(NamedTuple):
    """An event by its levels: pairs of type and id, the outermost first. `attribute` is the changed one, if one."""

    levels: tuple[tuple[str, str], ...]
    action: str
    attribute: str = ""

    @property
    def names(self) -> list[str]:
        """All names, in the order of the contract. Subscribers get the first one."""
        variants = self._variants(self.levels)
        names = [f"{name}.{self.action}" for name in variants]
        if self.attribute:
            names += [f"{name}.{self.action}.{self.attribute}" for name in variants]
        for depth in range(len(self.levels), 0, -1):
            names += self._variants(self.levels[:depth])
        return names

    @staticmethod
    def _variants(levels: tuple[tuple[str, str], ...]) -> list[str]:
        """Return the names with all ids, without ids, then with some ids: outer ids first."""
        choices = list(product(*((f"{kind}.{own_id}", f"{kind}.*") for kind, own_id in levels)))
        ordered = [choices[0], choices[-1], *choices[1:-1]]
        return [".".join(choice) for choice in ordered]


def named_event(event: Any) -> NamedEvent | None:
    """Return an event with its names; None for events without subscribers.

    Events of functions have none: functions cannot trigger functions (http-api.md 10.4).
    """
    parts = _NAMES_BY_EVENT.get(type(event))
    return None if parts is None else parts.of(parts.ids(event))


def wants(event: Any) -> bool:
    """Return True if an event can have subscribers."""
    return type(event) in _NAMES_BY_EVENT


def is_emitted(pattern: str) -> bool:
    """Return True if some event of this instance can match a pattern, with any ids."""
    parts = pattern.split(".")
    outer = [*parts[:1], "*", *parts[2:]]
    both = [*outer[:3], "*", *outer[4:]]
    return not _EMITTED.isdisjoint({".".join(outer), ".".join(both)})


class _NameParts(NamedTuple):
    """The parts of an event's names: types, a function that reads their ids, action and attribute."""

    kinds: tuple[str, ...]
    ids: Callable[[Any], tuple[str, ...]]
    action: str
    attribute: str = ""

    def of(self, ids: tuple[str, ...]) -> NamedEvent:
        return NamedEvent(tuple(zip(self.kinds, ids, strict=True)), self.action, self.attribute)


def _user(action: str, attribute: str = "") -> _NameParts:
    return _NameParts(("users",), lambda event: (_own_id(event),), action, attribute)


def _session(action: str, session_id: Callable[[Any], str]) -> _NameParts:
    return _NameParts(("users", "sessions"), lambda event: (_own_id(event), session_id(event)), action)


def _team(action: str) -> _NameParts:
    return _NameParts(("teams",), lambda event: (_own_id(event),), action)


def _member(action: str, member_id: Callable[[Any], str], attribute: str = "") -> _NameParts:
    return _NameParts(("teams", "memberships"), lambda event: (_own_id(event), member_id(event)), action, attribute)


def _own_id(event: Any) -> str:
    return str(event.originator_id).rpartition(":")[2]


_NAMES_BY_EVENT: Mapping[type, _NameParts] = {
    User.Created: _user("create"),
    User.NameChanged: _user("update", "name"),
    User.EmailChanged: _user("update", "email"),
    User.PhoneChanged: _user("update", "phone"),
    User.PasswordSet: _user("update", "password"),
    User.StatusChanged: _user("update", "status"),
    User.VerificationChanged: _user("update", "verification"),
    User.LabelsChanged: _user("update", "labels"),
    User.Deleted: _user("delete"),
    User.SessionOpened: _session("create", lambda event: event.session.session_id),
    User.SessionClosed: _session("delete", lambda event: event.session_id),
    Team.Created: _team("create"),
    Team.Renamed: _team("update"),
    Team.Deleted: _team("delete"),
    Team.MemberAdded: _member("create", lambda event: event.membership.membership_id),
    Team.MemberConfirmed: _member("update", lambda event: event.membership_id, "status"),
    Team.MemberChanged: _member("update", lambda event: event.membership_id),
    Team.MemberRemoved: _member("delete", lambda event: event.membership_id),
}
_EMITTED = frozenset(name for parts in _NAMES_BY_EVENT.values() for name in parts.of(("*",) * len(parts.kinds)).names)

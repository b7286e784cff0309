"""Projectors: functions that return the statements with which an event changes its inline read model."""

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any

from annals.store.log.request import Statement
from annals.store.postgres.connection import bound

Projector = Callable[[Any], Sequence[Statement]]


def identity(event: Any) -> dict[str, Any]:
    """Return the parameters that every statement has: the event's stream, and its version there."""
    return {"stream": event.originator_id, "version": event.originator_version}


def writes(query: str, table: str = "", *, part: str = "") -> Projector:
    """Return the projector that runs a query whose other parameters are fields of the event, or of a `part` of it."""
    names = [name for name in bound(query).names if name not in {"stream", "version"}]
    source = attrgetter(part) if part else _itself

    def project(event: Any) -> Sequence[Statement]:
        fields = source(event)
        return [Statement(query, identity(event) | {name: getattr(fields, name) for name in names}, table)]

    return project


def _itself(event: Any) -> Any:
    return event

"""The fields of the current request that its log lines carry, read when a line is written."""

from collections.abc import MutableMapping
from contextvars import ContextVar
from typing import Any

_CURRENT: "ContextVar[RequestContext | None]" = ContextVar("request", default=None)


class RequestContext:
    """The fields of one request. Empty fields are left out of log lines."""

    __slots__ = ("hint", "position", "project", "request")

    def __init__(self, request: str) -> None:
        self.request, self.project, self.hint, self.position = request, "", "", 0
        _CURRENT.set(self)


def add_request(_logger: object, _method: str, entry: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor that adds the current request's fields to an entry."""
    if (context := _CURRENT.get()) is not None:
        for name in ("request", "project", "hint", "position"):
            if value := getattr(context, name):
                entry.setdefault(name, value)
    return entry

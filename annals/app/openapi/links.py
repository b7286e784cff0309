"""How operations lead to one another: what one creates, others read, change and delete by the id in its answer."""

import re
from collections.abc import Callable, Iterable
from typing import Any

from annals.app.edge.routing import Operation

_PLACE = re.compile(r"\{(\w+)\}")
_FOLDERS = {
    "/v1/proxy/rules/function": "/v1/proxy/rules",
    "/v1/project/platforms/web": "/v1/project/platforms",
}
"""Where what is created lies, unless it is where it was created."""


def links(operation: Operation, others: Iterable[Operation], name: Callable[[Operation], str]) -> dict[str, Any]:
    """The links of an operation's answer; the path above what it created is its own."""
    if operation.method != "POST":
        return {}
    folder = _FOLDERS.get(operation.path, operation.path)
    above = {place: f"$request.path.{place}" for place in _PLACE.findall(folder)}
    found: dict[str, Any] = {}
    for other in others:
        below = _PLACE.findall(other.path.removeprefix(folder)) if other.path.startswith(f"{folder}/{{") else []
        if len(below) == 1:
            found[name(other)] = {"operationId": name(other), "parameters": {**above, below[0]: "$response.body#/$id"}}
    return found

"""Links between operations: the id in the answer of a create leads to the operations that take it."""

import re
from collections.abc import Callable, Iterable
from typing import Any

from annals.app.edge.operation import Endpoint

_PATH_PARAMETER = re.compile(r"\{(\w+)\}")
_FOLDERS = {
    "/v1/proxy/rules/function": "/v1/proxy/rules",
    "/v1/project/platforms/web": "/v1/project/platforms",
}
"""The collection of a created resource, if it differs from the path of the create."""


def links(operation: Endpoint, others: Iterable[Endpoint], name: Callable[[Endpoint], str]) -> dict[str, Any]:
    """Return the links of an operation's answer. The path parameters above the created resource are those of the
    request."""
    if operation.method != "POST":
        return {}
    folder = _FOLDERS.get(operation.path, operation.path)
    above = {parameter: f"$request.path.{parameter}" for parameter in _PATH_PARAMETER.findall(folder)}
    found: dict[str, Any] = {}
    for other in others:
        if not other.path.startswith(f"{folder}/{{"):
            continue
        below = _PATH_PARAMETER.findall(other.path.removeprefix(folder))
        if len(below) == 1:
            found[name(other)] = {"operationId": name(other), "parameters": {**above, below[0]: "$response.body#/$id"}}
    return found

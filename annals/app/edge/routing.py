"""The route table: which operation a method and a path name. Literal segments win over parameters."""

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, NamedTuple

from annals.app.edge.errors import RouteNotFound
from annals.app.edge.negotiation import ApiVersion
from annals.app.identity.caller import PUBLIC
from annals.app.parameters import Parameters
from annals.app.reads import Lookup

BODY_LIMIT = 2 * 1024 * 1024
"""Most bytes of an ordinary request's body."""


class Operation(NamedTuple):
    """One operation, declared beside its handler.

    `parameters` is its table, or makes it from the call where generation or settings matter. `translate` is what
    negotiation does to the parameters sent. An operation that reads may run before its caller is judged, since
    nothing is told before; `needs_project` is judged after the scope. `prefetch` is looked up by project and function
    together with the caller. `past` answers in the handler's place when the past is asked for with `asOf`.
    `code_scopes` raises UnauthorizedScope before the handler if the operation changes code that has scopes which the
    caller lacks.
    """

    method: str
    path: str
    handler: Callable[[Any], Awaitable[Any]]
    scopes: frozenset[str] | Callable[[ApiVersion], frozenset[str]] = PUBLIC
    parameters: Parameters | Callable[[Any], Parameters] = Parameters()
    translate: Callable[[dict[str, Any], Any], dict[str, Any]] | None = None
    needs_project: bool = True
    body_limit: int = BODY_LIMIT
    reads_body_itself: bool = False
    prefetch: Lookup | None = None
    past: Callable[[Any], Awaitable[Any]] | None = None
    code_scopes: Callable[[Any], Awaitable[None]] | None = None

    @property
    def service(self) -> str:
        """The service that a project may switch off: the first word below /v1."""
        return self.path.split("/")[2] if self.path.startswith("/v1/") else ""


class Routes:
    """All operations, as a tree of path segments."""

    def __init__(self, operations: Iterable[Operation]) -> None:
        self.operations = tuple(operations)
        self._root = _Node()
        for operation in self.operations:
            self._add(operation)

    def find(self, method: str, path: str) -> tuple[Operation, dict[str, str]]:
        """The operation and the values of its path; HEAD is served as GET. Raises RouteNotFound."""
        node, values = self._root, {}
        for segment in path.rstrip("/").split("/")[1:]:
            following = node.literals.get(segment)
            if following is None:
                if node.parameter is None or not segment:
                    raise RouteNotFound
                following = node.parameter
                values[following.name] = segment
            node = following
        operation = node.operations.get("GET" if method == "HEAD" else method)
        if operation is None:
            raise RouteNotFound
        return operation, values

    def _add(self, operation: Operation) -> None:
        node = self._root
        for segment in operation.path.split("/")[1:]:
            if segment.startswith("{"):
                node.parameter = node.parameter or _Node(segment[1:-1])
                node = node.parameter
            else:
                node = node.literals.setdefault(segment, _Node())
        if operation.method in node.operations:
            raise ValueError(f"{operation.method} {operation.path} is there twice")
        node.operations[operation.method] = operation


class _Node:
    def __init__(self, name: str = "") -> None:
        self.name = name
        self.literals: dict[str, _Node] = {}
        self.parameter: _Node | None = None
        self.operations: dict[str, Operation] = {}

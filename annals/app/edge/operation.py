"""Operations: Litestar's HTTP route handlers, and what each of them declares in `opt`."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from copy import copy
from typing import Any, NamedTuple, Self, Unpack, cast

from litestar import Controller, Litestar, Request
from litestar.connection import ASGIConnection
from litestar.handlers import HTTPRouteHandler
from litestar.routes import BaseRoute, HTTPRoute
from litestar.types import ASGIApp, ExceptionHandlersMap, Method

from annals.app.edge.call import Call, service_of
from annals.app.edge.declared import Declared
from annals.app.edge.stages import GUARDS, Handler, call_of, composed


class Operation(HTTPRouteHandler):
    """A route handler whose function takes the call. Litestar routes to it, runs its guards and sends its answer."""

    declared: Declared
    controller: Any = None
    carry_out: Handler
    """The function within the stages that its declaration needs."""

    def __init__(self, method: Method, path: str | Sequence[str], declared: Declared) -> None:
        super().__init__(path, http_method=method, status_code=200, opt=cast(dict[str, Any], declared))
        self.method = method

    def __call__(self, fn: Callable[[Any, Any], Awaitable[Any]]) -> Self:
        self.function = fn
        super().__call__(_carried_out)
        return self

    def __deepcopy__(self, _: dict[int, Any]) -> Self:
        """Return a copy for a controller. Declared values are shared: some are compared by identity."""
        copied = copy(self)
        copied.opt = dict(self.opt)
        return copied

    def on_registration(self, app: Litestar) -> None:
        super().on_registration(app)
        self.declared = cast(Declared, self.opt)
        self.controller = getattr(self._fn, "__self__", None)
        self._guards: list[Any] = self.resolve_guards()
        self._handlers = super().resolve_exception_handlers()
        self.carry_out = composed(self.declared, self.method, self.call_with)

    async def call_with(self, call: Call) -> Any:
        """Call the function alone, without guards and stages."""
        return await self.function(self.controller, call)

    async def authorize_connection(self, connection: ASGIConnection[Any, Any, Any, Any]) -> None:
        """Run the guards with the handler itself. Litestar passes a copy, which costs more than the guards."""
        for guard in self._guards:
            await guard(connection, self)

    def resolve_exception_handlers(self) -> ExceptionHandlersMap:
        """Return the merged handlers. Litestar merges the layers for every request."""
        return self._handlers


async def _carried_out(_: Any, request: Request[Any, Any, Any]) -> ASGIApp:
    """Return the answer of the operation that Litestar routed to."""
    operation = cast(Operation, request.scope["route_handler"])
    answer: ASGIApp = await operation.carry_out(call_of(request))
    return answer


def get(path: str | Sequence[str] = "/", **declared: Unpack[Declared]) -> Operation:
    """Declare an operation that reads. The edge serves HEAD by it, too."""
    return Operation("GET", path, declared)


def post(path: str | Sequence[str] = "/", **declared: Unpack[Declared]) -> Operation:
    return Operation("POST", path, declared)


def put(path: str | Sequence[str] = "/", **declared: Unpack[Declared]) -> Operation:
    return Operation("PUT", path, declared)


def patch(path: str | Sequence[str] = "/", **declared: Unpack[Declared]) -> Operation:
    return Operation("PATCH", path, declared)


def delete(path: str | Sequence[str] = "/", **declared: Unpack[Declared]) -> Operation:
    return Operation("DELETE", path, declared)


class ResourceController(Controller):
    """A resource's operations, whose callers are judged by the same guards."""

    guards = GUARDS
    include_in_schema = False


class Endpoint(NamedTuple):
    """A handler of one method under one of its paths, as in `/v1/functions/{functionId}`."""

    method: str
    path: str
    declared: Declared

    @property
    def service(self) -> str:
        """The service that a project may switch off: the first word below /v1."""
        return service_of(self.path)


def endpoints(routes: Iterable[BaseRoute]) -> list[Endpoint]:
    """Return all endpoints of an application's routes, by path. HEAD is served where GET is."""
    found = [
        Endpoint(method, route.path_format, cast(Declared, handler.opt))
        for route in routes
        if isinstance(route, HTTPRoute)
        for handler in route.route_handlers
        for method in handler.http_methods
        if method not in {"HEAD", "OPTIONS"}
    ]
    return sorted(found, key=lambda endpoint: (endpoint.path, endpoint.method))

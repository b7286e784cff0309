"""The executor API of the runtime contract (its §13): who may call what, and what is answered."""

import hmac
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from annals.executor.errors import EngineAway, SandboxLost
from annals.executor.open_runtimes import parameters
from annals.executor.open_runtimes.errors import ApiError
from annals.executor.open_runtimes.fields import Fields, runtime_id
from annals.executor.open_runtimes.replies import executed
from annals.executor.open_runtimes.runtimes import Runtimes
from annals.executor.open_runtimes.wire import Reply, Request, answered

PREFIX = "/v1"
BEARER = "Bearer "


class _Route(NamedTuple):
    method: str
    pattern: tuple[str, ...]
    """Parts of the path below the prefix; an empty one is the runtime's id."""
    answer: Callable[[Request, str], Awaitable[Reply]]
    open: bool = False


class Routes:
    """The table of calls over the runtimes; everything but health asks for the secret."""

    def __init__(self, runtimes: Runtimes, secret: str) -> None:
        self._runtimes = runtimes
        self._secret = secret.encode()
        self._table = (
            _Route("GET", ("health",), self._health, open=True),
            _Route("POST", ("runtimes",), self._create),
            _Route("GET", ("runtimes",), self._list),
            _Route("GET", ("runtimes", ""), self._get),
            _Route("DELETE", ("runtimes", ""), self._delete),
            _Route("GET", ("runtimes", "", "logs"), self._logs),
            _Route("POST", ("runtimes", "", "commands"), self._command),
            _Route("POST", ("runtimes", "", "executions"), self._execute),
            _Route("POST", ("runtimes", "", "execution"), self._execute),
        )

    def admit(self, request: Request) -> None:
        """Before a body is read: the route must be there and the caller know the secret. Raises ApiError."""
        route, _ = self._route(request)
        given = request.headers.get("authorization", "")
        known = given.startswith(BEARER) and hmac.compare_digest(given[len(BEARER) :].encode(), self._secret)
        if not (route.open or known):
            raise ApiError("general_unauthorized")

    async def answer(self, request: Request) -> Reply:
        """Answer an admitted request. Raises ApiError."""
        route, name = self._route(request)
        try:
            return await route.answer(request, name)
        except (EngineAway, SandboxLost) as away:
            raise ApiError("general_unavailable", str(away)) from away

    def _route(self, request: Request) -> tuple[_Route, str]:
        root, *parts = request.path.rstrip("/").lstrip("/").split("/")
        if f"/{root}" == PREFIX:
            for route in self._table:
                if route.method == request.method and len(parts) == len(route.pattern):
                    pairs = list(zip(parts, route.pattern, strict=True))
                    if all(part == wanted or (part and not wanted) for part, wanted in pairs):
                        return route, next((part for part, wanted in pairs if not wanted), "")
        raise ApiError("general_route_not_found")

    async def _health(self, _: Request, __: str) -> Reply:
        return Reply(body=b"OK", content_type="text/plain; charset=utf-8")

    async def _create(self, request: Request, _: str) -> Reply:
        name, spec = parameters.creation(Fields.of(request))
        return answered(await self._runtimes.create(name, spec), 201)

    async def _list(self, _: Request, __: str) -> Reply:
        return answered(self._runtimes.all_seen())

    async def _get(self, _: Request, name: str) -> Reply:
        return answered(self._runtimes.seen(name))

    async def _delete(self, _: Request, name: str) -> Reply:
        await self._runtimes.delete(name)
        return Reply()

    async def _logs(self, request: Request, name: str) -> Reply:
        seconds = Fields.of(request).number("timeout", 600, least=1, most=parameters.LONGEST_SECONDS)
        record = await self._runtimes.output(name, seconds)
        return Reply(
            content_type="text/event-stream",
            headers=(("cache-control", "no-cache"),),
            stream=record.lines(seconds),
        )

    async def _command(self, request: Request, name: str) -> Reply:
        fields = Fields.of(request)
        command = fields.text("command", 1024, least=1)
        seconds = fields.number("timeout", 600, least=1, most=parameters.LONGEST_SECONDS)
        return answered({"output": await self._runtimes.command(name, command, seconds)})

    async def _execute(self, request: Request, name: str) -> Reply:
        call, spec = parameters.execution(Fields.of(request))
        outcome, started, seconds = await self._runtimes.execute(runtime_id(name), call, spec)
        return executed(request, outcome, started, seconds)

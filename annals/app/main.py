"""The API application: an edge of our own within Litestar, which opens and closes what it works with."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from litestar import Litestar, Request, Response, asgi
from litestar.exceptions import HTTPException
from litestar.types import Receive, Scope, Send

from annals.app.edge.error_answers import domain_error_answer
from annals.app.edge.operations import ROUTES
from annals.app.edge.stages import Edge
from annals.app.wiring import open_executor, open_services
from annals.domain.errors import BadRequest
from annals.settings import Settings
from annals.telemetry.metrics import Metrics


def create_app(settings: Settings) -> Litestar:
    """An ASGI application over a migrated database and running executors, both named by the settings.

    The one mounted handler has every path: parameters are parsed after the scope check and unknown routes are 404 in
    the envelope, which Litestar's own routing and body parsing cannot be told (docs/adr).
    """
    metrics = Metrics(settings.metrics)
    edge = Edge(ROUTES, metrics)

    @asynccontextmanager
    async def open_and_close(_: Litestar) -> AsyncIterator[None]:
        async with open_executor(settings) as executor, open_services(settings, executor, metrics) as services:
            edge.open(services)
            yield
            await edge.drained()

    @asgi("/", is_mount=True, copy_scope=False)
    async def everything(scope: Scope, receive: Receive, send: Send) -> None:
        scope["path"] = f"/{scope['path']}"  # a mount strips its own path, which is the slash
        await edge(scope, receive, send)

    return Litestar(
        [everything],
        lifespan=[open_and_close],
        openapi_config=None,
        logging_config=None,
        debug=False,
        exception_handlers={HTTPException: refused_by_router},
    )


def refused_by_router(_: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    """Return the envelope for a head that Litestar refuses before the edge sees it, as for a Host that is no name."""
    answer = domain_error_answer(BadRequest(f"{error.detail}. Correct the request's head and send it again."))
    headers = {name.decode(): value.decode() for name, value in answer.headers}
    return Response(answer.body, status_code=answer.status, headers=headers)

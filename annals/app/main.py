"""The API application: the edge around Litestar's routes, over the services that a process opens."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from litestar import Litestar
from litestar.types import ASGIApp

from annals.app.controllers import routes
from annals.app.edge.edge import Edge
from annals.app.hosts.domain_request import request_kind
from annals.app.services import RemoteExecutor
from annals.app.wiring import open_services
from annals.settings import Settings
from annals.telemetry.metrics import Metrics


def create_app(settings: Settings, executor: RemoteExecutor) -> ASGIApp:
    """Return an ASGI application over a migrated database, which the settings name, and running executors."""
    metrics = Metrics(settings.metrics)

    @asynccontextmanager
    async def open_and_close(_: Litestar) -> AsyncIterator[None]:
        async with open_services(settings, executor, metrics) as services:
            edge.open(services)
            yield
            await edge.drained()

    edge = Edge(routes([open_and_close]), metrics, request_kind)
    return edge

"""The API's routes, which the edges of one test process share, since routes hold no services."""

from functools import cache

from litestar import Litestar

from annals.app.controllers import routes
from annals.app.edge.edge import Edge
from annals.app.edge.operation import endpoints
from annals.app.hosts.domain_request import request_kind
from annals.app.services import Services


@cache
def routed() -> Litestar:
    return routes()


def edge_of(services: Services) -> Edge:
    """Return an edge around the routes that is open over the services."""
    edge = Edge(routed(), services.metrics, request_kind)
    edge.open(services)
    return edge


ENDPOINTS = endpoints(routed().routes)
"""Every operation by each of its paths."""

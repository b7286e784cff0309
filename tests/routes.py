"""The API's routes, shared by the edges of one test process: routes hold no services."""

from functools import cache

from litestar import Litestar

from annals.app.controllers import routes
from annals.app.edge.operation import endpoints


@cache
def routed() -> Litestar:
    return routes()


ENDPOINTS = endpoints(routed().routes)
"""Every operation under each of its paths."""

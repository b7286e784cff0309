"""The API's routes, which the edges of one test process share, since routes hold no services."""

from functools import cache

from litestar import Litestar

from annals.app.controllers import routes
from annals.app.edge.operation import endpoints


@cache
def routed() -> Litestar:
    return routes()


ENDPOINTS = endpoints(routed().routes)
"""Every operation by each of its paths."""

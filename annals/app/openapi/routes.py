"""The documents that describe all operations, and the page at `/docs` that shows them. Its files are served locally."""

from pathlib import Path
from typing import Any

import swagger_ui_bundle
from litestar import Request, Router
from litestar.datastructures import CacheControlHeader
from litestar.file_system import BaseLocalFileSystem
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import OpenAPIRenderPlugin
from litestar.static_files import create_static_files_router
from litestar.types import FileInfo

from annals.app.edge import operation
from annals.app.edge.answers import Answer, json_answer
from annals.app.edge.call import Call
from annals.app.edge.declared import Declared
from annals.app.edge.negotiation import NEWEST_KNOWN, negotiate
from annals.app.edge.stages import require_for_page
from annals.app.openapi.document import document
from annals.app.parameters import OneOf, Parameters, optional
from annals.domain.version import API_VERSION

_PATH = "/docs"
_DECLARED: dict[str, Any] = {"needs_project": False}
_OWN = Path(__file__).with_name("assets")
_BUNDLE = Path(str(swagger_ui_bundle.swagger_ui_path)).resolve()
_BUNDLED = ("swagger-ui.css", "swagger-ui-bundle.js", "swagger-ui-standalone-preset.js", "favicon-32x32.png")
_SERVED = frozenset({str(_OWN / "start.js"), *(str(_BUNDLE / name) for name in _BUNDLED)})
_PAGE = b"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Annals API</title>
<link rel="stylesheet" href="/docs/swagger-ui.css">
<link rel="icon" href="/docs/favicon-32x32.png">
</head>
<body>
<div id="ui"></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/swagger-ui-standalone-preset.js"></script>
<script src="/docs/start.js"></script>
</body>
</html>
"""
_POLICY = {
    "content-security-policy": (
        "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; frame-ancestors 'none'"
    )
}
_FORMAT = Parameters(format=optional(OneOf(("1.8.0", NEWEST_KNOWN))))


class DocsPage(OpenAPIRenderPlugin):
    """Swagger UI over `/openapi.json`, which has one document for each API version."""

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        del request, openapi_schema
        return _PAGE

    def receive_router(self, router: Router) -> None:
        """Keep only the page. Litestar adds its own document, and an HTML page for unknown paths."""
        router.routes = [route for route in router.routes if route.path == _PATH]


class _Assets(BaseLocalFileSystem):
    """The files of the page, and no others of their folders."""

    async def info(self, path: Any, **options: Any) -> FileInfo:
        if str(path) not in _SERVED:
            raise FileNotFoundError(path)
        return await super().info(path, **options)


def openapi_config() -> OpenAPIConfig:
    """Return the configuration of the page."""
    router = Router(
        _PATH,
        route_handlers=[],
        guards=[require_for_page],
        opt=_DECLARED,
        include_in_schema=False,
        response_headers=_POLICY,
    )
    return OpenAPIConfig("Annals", API_VERSION, openapi_router=router, render_plugins=[DocsPage(path="/")])


def assets() -> Router:
    """Return the router of the page's files."""
    return create_static_files_router(
        _PATH,
        [_OWN, _BUNDLE],
        file_system=_Assets(),
        guards=[require_for_page],
        opt=_DECLARED,
        cache_control=CacheControlHeader(max_age=3600),
    )


class OpenApiController(operation.ResourceController):
    path = "/openapi.json"
    opt = Declared(needs_project=False)

    @operation.get(parameters=_FORMAT)
    async def openapi(self, call: Call) -> Answer:
        asked = call.values["format"] or call.header(b"x-appwrite-response-format") or NEWEST_KNOWN
        described = operation.endpoints(call.scope["litestar_app"].routes)
        made: dict[str, Any] = document(described, call.services, negotiate(asked))
        return json_answer(made)

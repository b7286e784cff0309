"""The documents, and a page on which they are read and tried: all of it served from here."""

from functools import lru_cache
from pathlib import Path
from typing import Any

import swagger_ui_bundle

from annals.app.edge.answers import Answer, json_answer
from annals.app.edge.call import Call
from annals.app.edge.errors import RouteNotFound
from annals.app.edge.negotiation import NEWEST_KNOWN, negotiate
from annals.app.edge.routing import Operation
from annals.app.openapi.document import document
from annals.app.parameters import OneOf, Parameters, Text, optional, required

_ASSETS = {
    "swagger-ui.css": b"text/css; charset=utf-8",
    "swagger-ui-bundle.js": b"text/javascript; charset=utf-8",
    "swagger-ui-standalone-preset.js": b"text/javascript; charset=utf-8",
    "favicon-32x32.png": b"image/png",
    "start.js": b"text/javascript; charset=utf-8",
}
_START = b"""window.ui = SwaggerUIBundle({
  urls: [
    {name: "2.5.0", url: "/openapi.json?format=2.5.0"},
    {name: "1.8.0", url: "/openapi.json?format=1.8.0"},
  ],
  dom_id: "#ui",
  deepLinking: true,
  validatorUrl: null,
  presets: [SwaggerUIBundle.presets.apis, SwaggerUIStandalonePreset],
  layout: "StandaloneLayout",
});
"""
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
_POLICY = (
    b"content-security-policy",
    b"default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; frame-ancestors 'none'",
)


def routes(operations: tuple[Operation, ...]) -> tuple[Operation, ...]:
    """The operations that describe these, and not themselves."""

    async def openapi(call: Call) -> Answer:
        asked = call.values["format"] or call.header(b"x-appwrite-response-format") or NEWEST_KNOWN
        made: dict[str, Any] = document(operations, call.services, negotiate(asked))
        return json_answer(made)

    return (
        Operation("GET", "/openapi.json", openapi, parameters=_FORMAT, needs_project=False),
        Operation("GET", "/docs", _page, needs_project=False),
        Operation("GET", "/docs/{asset}", _asset, parameters=_NAMED, needs_project=False),
    )


_FORMAT = Parameters(format=optional(OneOf(("1.8.0", NEWEST_KNOWN))))
_NAMED = Parameters(asset=required(Text(100)))


async def _page(_: Call) -> Answer:
    return Answer(200, _PAGE, [(b"content-type", b"text/html; charset=utf-8"), _POLICY])


async def _asset(call: Call) -> Answer:
    name = call.values["asset"]
    if name not in _ASSETS:
        raise RouteNotFound
    body = _START if name == "start.js" else _read(name)
    return Answer(200, body, [(b"content-type", _ASSETS[name]), (b"cache-control", b"max-age=3600")])


@lru_cache
def _read(name: str) -> bytes:
    return (Path(str(swagger_ui_bundle.swagger_ui_path)) / name).read_bytes()

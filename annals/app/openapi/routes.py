"""The documents that describe every other operation."""

from typing import Any

from annals.app.edge import operation
from annals.app.edge.answers import Answer, json_answer
from annals.app.edge.call import Call
from annals.app.edge.declared import Declared
from annals.app.edge.negotiation import NEWEST_KNOWN, negotiate
from annals.app.openapi.document import document
from annals.app.parameters import OneOf, Parameters, optional

_FORMAT = Parameters(format=optional(OneOf(("1.8.0", NEWEST_KNOWN))))


class OpenApiController(operation.ResourceController):
    path = "/openapi.json"
    opt = Declared(needs_project=False)

    @operation.get(parameters=_FORMAT)
    async def openapi(self, call: Call) -> Answer:
        asked = call.values["format"] or call.header(b"x-appwrite-response-format") or NEWEST_KNOWN
        described = operation.endpoints(call.scope["litestar_app"].routes)
        made: dict[str, Any] = document(described, call.services, negotiate(asked))
        return json_answer(made)

"""The operations on usage."""

from annals.app.edge.answers import Answer, json_answer
from annals.app.edge.call import Call
from annals.app.edge.routing import Operation
from annals.app.identity.scopes import FUNCTIONS_READ
from annals.app.parameters import OneOf, Parameters, Uid, optional, required
from annals.app.usage import as_of as past
from annals.app.usage import queries, schemas

_RANGE = optional(OneOf(("24h", "30d", "90d"), strict=False), "30d")
ALL = Parameters(range=_RANGE)
ONE = Parameters(functionId=required(Uid()), range=_RANGE)


async def list_usage(call: Call) -> Answer:
    await call.caller()
    return json_answer(schemas.present(await queries.of_project(call), call.values["range"], of_one=False))


async def get_usage(call: Call) -> Answer:
    return json_answer(schemas.present(await queries.of_function(call), call.values["range"], of_one=True))


ROUTES = (
    Operation("GET", "/v1/functions/usage", list_usage, FUNCTIONS_READ, ALL, past=past.list_usage),
    Operation("GET", "/v1/functions/{functionId}/usage", get_usage, FUNCTIONS_READ, ONE, past=past.get_usage),
)

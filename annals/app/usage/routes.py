"""The operations on usage."""

from annals.app.edge import operation
from annals.app.edge.answers import Answer, json_answer
from annals.app.edge.call import Call
from annals.app.identity.scopes import FUNCTIONS_READ
from annals.app.parameters import OneOf, Parameters, Uid, optional, required
from annals.app.usage import as_of, queries, schemas

_RANGE = optional(OneOf(("24h", "30d", "90d"), strict=False), "30d")
ALL = Parameters(range=_RANGE)
ONE = Parameters(functionId=required(Uid()), range=_RANGE)


class UsageController(operation.ResourceController):
    path = "/v1/functions"

    @operation.get("/usage", scopes=FUNCTIONS_READ, parameters=ALL, as_of=as_of.list_usage)
    async def list_usage(self, call: Call) -> Answer:
        await call.caller()
        return json_answer(schemas.present(await queries.of_project(call), call.values["range"], of_one=False))

    @operation.get("/{functionId:str}/usage", scopes=FUNCTIONS_READ, parameters=ONE, as_of=as_of.get_usage)
    async def get_usage(self, call: Call) -> Answer:
        return json_answer(schemas.present(await queries.of_function(call), call.values["range"], of_one=True))

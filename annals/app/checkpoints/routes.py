"""The operations on checkpoints and proofs."""

from annals.app.checkpoints import queries
from annals.app.edge import operation
from annals.app.edge.answers import Answer, json_answer
from annals.app.edge.call import Call
from annals.app.identity.scopes import EVENTS_READ
from annals.app.parameters import IntegerRange, Parameters, optional, required
from annals.app.queries.page import list_parameters
from annals.app.queries.reading import read_list
from annals.app.queries.statements import Sql

_MOST = 2**62
_SIZE = IntegerRange(1, _MOST)
LIST = list_parameters(queries.LIST)
PROOF = Parameters(position=required(IntegerRange(1, _MOST)), checkpoint=optional(_SIZE))
CONSISTENCY = Parameters(**{"from": required(_SIZE), "to": optional(_SIZE)})


class CheckpointController(operation.ResourceController):
    path = "/v1"

    @operation.get("/checkpoints", scopes=EVENTS_READ, parameters=LIST)
    async def list_checkpoints(self, call: Call) -> Answer:
        found = await read_list(call, call.values["queries"], queries.LIST, Sql("true"), counted=call.values["total"])
        return json_answer(queries.present_list(found.rows, found.total))

    @operation.get("/checkpoints/latest", scopes=EVENTS_READ)
    async def latest(self, call: Call) -> Answer:
        return json_answer(queries.present(await queries.checkpoint(call, None)))

    @operation.get("/checkpoints/consistency", scopes=EVENTS_READ, parameters=CONSISTENCY)
    async def consistency(self, call: Call) -> Answer:
        found = await queries.consistency(call, call.values["from"], call.values["to"])
        return json_answer(queries.present_consistency(found))

    @operation.get("/events/{position:str}/proof", scopes=EVENTS_READ, parameters=PROOF)
    async def proof(self, call: Call) -> Answer:
        await call.caller()
        found = await queries.inclusion(call, call.values["position"], call.values["checkpoint"])
        return json_answer(queries.present_inclusion(found))

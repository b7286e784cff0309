"""The operations that bring back what was, and say what differs from it."""

from collections.abc import Sequence
from typing import Any

import msgspec

from annals.app.as_of.moment import AsOf, resolve
from annals.app.edge import operation
from annals.app.edge.answers import Answer, json_answer, raw_json_answer
from annals.app.edge.call import Call
from annals.app.edge.dry_run import DryRunLog, answer_dry_run
from annals.app.functions.queries import read_function
from annals.app.history.presenting import Presenter
from annals.app.history.schemas import ChangeModel
from annals.app.identity.scopes import EVENTS_READ, FUNCTIONS_READ, FUNCTIONS_WRITE
from annals.app.parameters import Boolean, Parameters, Uid, ValidationError, optional, required
from annals.app.revert.configuration import read_configuration
from annals.app.revert.reverting import revert
from annals.domain.errors import FunctionNotFound
from annals.domain.function import Function
from annals.domain.redaction import describe_openable, differences


class PositionOrTime:
    """A position of the log or a time."""

    def parse(self, value: Any) -> str | int:
        if isinstance(value, str | int) and not isinstance(value, bool):
            return value
        raise ValidationError(self.describe())

    def describe(self) -> str:
        return "Value must be a position of the log or an RFC 3339 time"


class Diff(msgspec.Struct, rename={"former": "from", "latter": "to"}):
    """What differs between two positions."""

    former: int
    latter: int
    changes: Sequence[ChangeModel]


DIFF = Parameters(
    **{"functionId": required(Uid()), "from": required(PositionOrTime()), "to": optional(PositionOrTime())}
)
REVERT = Parameters(
    functionId=required(Uid()), to=required(PositionOrTime()), dryRun=optional(Boolean(loose=True), False)
)
CONFIGURATION = Parameters(functionId=required(Uid()), executionId=required(Uid()))


class RevertController(operation.ResourceController):
    path = "/v1/functions"

    @operation.get("/{functionId:str}/diff", scopes=EVENTS_READ, parameters=DIFF)
    async def diff(self, call: Call) -> Answer:
        former = await resolve(call, call.values["from"], "from")
        if call.values["to"] is None:
            latter = AsOf(await call.services.log.reader.position(), None, former.since)
        else:
            latter = await resolve(call, call.values["to"], "to")
        one, other = [describe_openable(await _function_at(call, past)) for past in (former, latter)]
        stream = Function.stream(call.project_id, call.values["functionId"])
        changes = await (await Presenter.of_call(call)).changes(stream, differences(one, other))
        call.seen(latter.position)
        return json_answer(Diff(former.position, latter.position, changes))

    @operation.post("/{functionId:str}/revert", scopes=FUNCTIONS_WRITE, parameters=REVERT)
    async def revert_to(self, call: Call) -> Answer:
        (await call.caller()).require(EVENTS_READ)
        if call.values["dryRun"] and not isinstance(call.services.log, DryRunLog):
            return await answer_dry_run(call, self.revert_to.call_with)
        await revert(call, await resolve(call, call.values["to"], "to"))
        return raw_json_answer(await read_function(call, call.values["functionId"]))

    @operation.get(
        "/{functionId:str}/executions/{executionId:str}/configuration", scopes=FUNCTIONS_READ, parameters=CONFIGURATION
    )
    async def configuration(self, call: Call) -> Answer:
        return json_answer(await read_configuration(call))


async def _function_at(call: Call, past: AsOf) -> Function:
    key = Function.absent(call.project_id, call.values["functionId"])
    found = await call.services.log.reader.aggregate_at(key, past.position, since=past.since)
    if not isinstance(found, Function):
        raise FunctionNotFound(f"There was no function with the requested ID at position {past.position}.")
    return found

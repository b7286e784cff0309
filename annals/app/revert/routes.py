"""The operations that revert or restore a function, and show what differs from a former state."""

from collections.abc import Sequence
from typing import Any

import msgspec

from annals.app.as_of.moment import AsOf, resolve
from annals.app.as_of.rows import read_parent
from annals.app.edge import code_scopes, operation
from annals.app.edge.answers import Answer, json_answer, raw_json_answer
from annals.app.edge.call import Call
from annals.app.edge.dry_run import DryRunLog, WouldRecord, answer_dry_run
from annals.app.functions.queries import read_function
from annals.app.history.presenting import Presenter
from annals.app.history.schemas import ChangeModel
from annals.app.identity.scopes import EVENTS_READ, FUNCTIONS_READ, FUNCTIONS_WRITE, require_any
from annals.app.installations.queries import require_installation
from annals.app.parameters import Boolean, Parameters, Uid, ValidationError, optional, required
from annals.app.revert.configuration import read_configuration
from annals.domain.commands.functions import Revival, restore_function, revert_function
from annals.domain.deployment import Deployment
from annals.domain.errors import DeploymentContentsGone, FunctionNotFound
from annals.domain.function import Function
from annals.domain.ports import Artefact
from annals.domain.redaction import describe_openable, differences
from annals.store.content.blobs import BlobMissing
from annals.store.ids import generate_id


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
        require_any(await call.caller(), EVENTS_READ)
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


async def revert(call: Call, past: AsOf) -> None:
    """Bring configuration, variables and active deployment of a function back to their former state.

    Raises FunctionNotFound if the function did not exist then, UnauthorizedScope, DeploymentContentsGone,
    InstallationNotFound, VariableAlreadyExists for a variable whose id another function has now, and WouldRecord in a
    dry run.
    """
    recorded_events, key = call.services.log.reader, Function.absent(call.project_id, call.values["functionId"])
    then = await recorded_events.aggregate_at(key, past.position, since=past.since)
    if not isinstance(then, Function) or then.deleted:
        raise FunctionNotFound(f"There was no function with the requested ID at position {past.position}.")
    await code_scopes.require(call, then.configuration.scopes)
    now: Function = await call.services.log.load(key)
    installation = then.configuration.installation_id
    if installation and (now.deleted or installation != now.configuration.installation_id):
        await require_installation(call, installation)
    revival = await _revival(call, past, then, now)
    if not now.deleted:
        incarnation = (await read_parent(call, then.function_id))["sequence"]
        await _revert(call, then, revival, incarnation)
        return
    try:
        recorded = await call.services.log.run(restore_function, key, meta=await call.meta(), then=then)
    except WouldRecord as would:
        raise WouldRecord(await _with_deployment(call, would, then, revival)) from None
    incarnation = recorded.rows["functions"][0]["sequence"]
    await _revert(call, then, revival, incarnation)


async def _revert(call: Call, then: Function, revival: Revival | None, incarnation: int) -> None:
    keys = [Function.key(call.project_id, then.function_id)]
    if revival is not None:
        keys.append(Deployment.absent(call.project_id, revival.deployment_id))
    elif then.deployment_id:
        keys.append(Deployment.key(call.project_id, then.deployment_id))
    recorded = await call.services.log.run(
        revert_function, *keys, meta=await call.meta(), then=then, revival=revival, incarnation=incarnation
    )
    call.seen(recorded.position)


async def _revival(call: Call, past: AsOf, then: Function, now: Function) -> Revival | None:
    """Return the deployment to bring back, or None if there was none, or if the same deployment still exists."""
    if not then.deployment_id:
        return None
    recorded_events, key = call.services.log.reader, Deployment.absent(call.project_id, then.deployment_id)
    former = await recorded_events.aggregate_at(key, past.position, since=past.since)
    if not isinstance(former, Deployment) or former.source is None or former.artefact is None:
        raise DeploymentContentsGone(f"Deployment {then.deployment_id} was not ready at position {past.position}.")
    for artefact in (former.source, former.artefact):
        await _require(call, then.deployment_id, artefact)
    present: Deployment = await call.services.log.load(key)
    same = present.created_on == former.created_on and not present.deleted
    if same and not now.deleted:
        return None
    free = present.deleted or now.deleted
    return Revival(
        deployment_id=then.deployment_id if free else generate_id(),
        former=former,
        source=former.source,
        artefact=former.artefact,
    )


async def _require(call: Call, deployment_id: str, artefact: Artefact) -> None:
    try:
        await call.services.blobs.head(artefact.key)
    except BlobMissing:
        raise DeploymentContentsGone(
            f"Deployment {deployment_id} cannot be restored: its contents are gone. Revert to a position with another"
            " active deployment, or deploy again."
        ) from None


async def _with_deployment(call: Call, would: WouldRecord, then: Function, revival: Revival | None) -> Any:
    """Return the events that restoring a function and its deployment would record."""
    recorded = would.recorded
    (function,) = recorded.aggregates
    if revival is None or not isinstance(function, Function):
        return recorded
    present = await call.services.log.load(Deployment.absent(call.project_id, revival.deployment_id))
    changed = revert_function(function, present, then=then, revival=revival, incarnation=0)
    events: list[Any] = [event for aggregate in changed for event in aggregate.collect_events()]
    for event in events:
        event.metadata.update(recorded.events[0].metadata)
    return recorded._replace(events=[*recorded.events, *events])

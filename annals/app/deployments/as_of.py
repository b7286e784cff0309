"""Deployments as they were at a moment. The log of a running build is empty: its pieces have no positions."""

from annals.app.as_of import moment, rows
from annals.app.as_of.rows import Tables
from annals.app.deployments import queries
from annals.app.edge.answers import Answer, raw_json_answer
from annals.app.edge.call import Call
from annals.domain.errors import DeploymentNotFound


async def get(call: Call) -> Answer:
    past = await moment.requested(call)
    row = await rows.child(call, past, "deployments", call.values["deploymentId"], columns=queries.PAST_COLUMNS)
    if row is None:
        raise DeploymentNotFound(f"There was no deployment with the requested ID at position {past.position}.")
    return raw_json_answer(await queries.present_whole(call, row))


async def list_deployments(call: Call) -> Answer:
    tables, values = Tables(await moment.requested(call)), call.values
    page, searched, counted = values["queries"], values["search"], values["total"]
    return raw_json_answer(
        await queries.read_deployments(call, values["functionId"], page, searched, counted=counted, tables=tables)
    )

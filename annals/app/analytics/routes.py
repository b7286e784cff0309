"""The operations of usage analytics."""

from annals.app.analytics import as_of as past
from annals.app.analytics import parameters, schemas
from annals.app.edge.answers import Answer, json_answer
from annals.app.edge.call import Call
from annals.app.edge.routing import Operation
from annals.app.identity.scopes import FUNCTIONS_READ
from annals.projections.usage.answer import answer
from annals.projections.usage.executions import page


async def get_usage(call: Call) -> Answer:
    await call.caller()
    services, values = call.services, call.values
    days = services.settings.execution_retention_days
    question = parameters.question(call.project_id, values, now=services.now(), minute_days=days)
    found = await answer(services.database, services.log.reader, question)
    call.seen(found.position)
    return schemas.answered(call, question, found)


async def list_executions(call: Call) -> Answer:
    await call.caller()
    values = call.values
    wanted = parameters.wanted(call.project_id, values, now=call.services.now(), since=await call.incarnation())
    found = await page(call.services.log.reader, wanted, cursor=values["cursor"], limit=values["limit"])
    return json_answer(schemas.present_executions(found))


ROUTES = (
    Operation("GET", "/v1/usage", get_usage, FUNCTIONS_READ, parameters.ASK, past=past.get_usage),
    Operation(
        "GET", "/v1/usage/executions", list_executions, FUNCTIONS_READ, parameters.EXECUTIONS, past=past.list_executions
    ),
)

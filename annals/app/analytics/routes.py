"""The operations of usage analytics."""

from annals.app.analytics import as_of, parameters, schemas
from annals.app.edge import operation
from annals.app.edge.answers import Answer, json_answer
from annals.app.edge.call import Call
from annals.app.identity.scopes import FUNCTIONS_READ
from annals.projections.usage.answer import answer
from annals.projections.usage.executions import page


class AnalyticsController(operation.ResourceController):
    path = "/v1/usage"

    @operation.get(scopes=FUNCTIONS_READ, parameters=parameters.ASK, as_of=as_of.get_usage)
    async def get_usage(self, call: Call) -> Answer:
        await call.caller()
        services, values = call.services, call.values
        days = services.settings.execution_retention_days
        question = parameters.question(call.project_id, values, now=services.now(), minute_days=days)
        found = await answer(services.database, services.log.reader, question)
        call.seen(found.position)
        return schemas.answered(call, question, found)

    @operation.get("/executions", scopes=FUNCTIONS_READ, parameters=parameters.EXECUTIONS, as_of=as_of.list_executions)
    async def list_executions(self, call: Call) -> Answer:
        await call.caller()
        values = call.values
        query = parameters.executions_query(
            call.project_id, values, now=call.services.now(), since=await call.incarnation()
        )
        found = await page(call.services.log.reader, query, cursor=values["cursor"], limit=values["limit"])
        return json_answer(schemas.present_executions(found))

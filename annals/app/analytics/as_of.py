"""The operations of usage analytics as of a past moment, which stands for `now`."""

from datetime import timedelta

from annals.app.analytics import parameters, schemas
from annals.app.as_of import moment
from annals.app.as_of.moment import BEFORE_ALL
from annals.app.edge.answers import Answer, json_answer
from annals.app.edge.call import Call
from annals.app.usage.as_of import retry
from annals.projections.usage.answer import answer_at
from annals.projections.usage.executions import page

_BEHIND = timedelta(milliseconds=1)
"""A range excludes its end, but events at the moment itself count."""


async def get_usage(call: Call) -> Answer:
    past = await moment.requested(call)
    services = call.services
    at, days = past.moment or BEFORE_ALL, services.settings.execution_retention_days
    question = parameters.question(
        call.project_id, call.values, now=at + _BEHIND, minute_days=days, present=services.now()
    )
    found = await retry(
        call,
        lambda: answer_at(
            services.database, services.log.reader, question, position=past.position, moment=at, since=past.since
        ),
    )
    return schemas.answered(call, question, found)


async def list_executions(call: Call) -> Answer:
    past = await moment.requested(call)
    values = call.values
    now = (past.moment or BEFORE_ALL) + _BEHIND
    query = parameters.executions_query(call.project_id, values, now=now, since=past.since, last=past.position)
    found = await page(call.services.log.reader, query, cursor=values["cursor"], limit=values["limit"])
    return json_answer(schemas.present_executions(found))

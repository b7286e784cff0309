"""The operations on usage: series of a project or function, and questions, live or as of a moment."""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import TypeVar

from annals.app.as_of import moment
from annals.app.as_of.moment import BEFORE_ALL, AsOf, requested
from annals.app.as_of.rows import Tables, read_parent
from annals.app.edge import operation
from annals.app.edge.answers import Answer, json_answer
from annals.app.edge.call import Call
from annals.app.errors import HistoryNotReady
from annals.app.identity.scopes import FUNCTIONS_READ
from annals.app.parameters import OneOf, Parameters, Uid, optional, required
from annals.app.usage import parameters, schemas
from annals.projections.usage.answer import answer, answer_at
from annals.projections.usage.executions import page
from annals.projections.usage.recount import NotBooked
from annals.projections.usage.series import Scope, read_usage, read_usage_at
from annals.store.log.follower import reached

T = TypeVar("T")

_RANGE = optional(OneOf(("24h", "30d", "90d"), strict=False), "30d")
ALL = Parameters(range=_RANGE)
ONE = Parameters(functionId=required(Uid()), range=_RANGE)
_BEHIND = timedelta(milliseconds=1)
"""A range excludes its end, but events at the moment itself count."""


class UsageController(operation.ResourceController):
    path = "/v1/functions"

    @operation.get("/usage", scopes=FUNCTIONS_READ, parameters=ALL, as_of=True)
    async def list_usage(self, call: Call) -> Answer:
        await call.caller()
        return await _answer_series(call, await requested(call), Scope(call.project_id))

    @operation.get("/{functionId:str}/usage", scopes=FUNCTIONS_READ, parameters=ONE, as_of=True)
    async def get_usage(self, call: Call) -> Answer:
        past = await requested(call)
        function_id = call.values["functionId"]
        function = await read_parent(call, function_id, Tables(past))
        return await _answer_series(call, past, Scope(call.project_id, function_id, function["sequence"]))


class AnalyticsController(operation.ResourceController):
    path = "/v1/usage"

    @operation.get(scopes=FUNCTIONS_READ, parameters=parameters.ASK, as_of=True)
    async def get_usage(self, call: Call) -> Answer:
        await call.caller()
        past = await requested(call)
        services, days = call.services, call.services.settings.execution_retention_days
        end = _end(call, past)
        present = end if past is None else services.now()
        question = parameters.question(call.project_id, call.values, now=end, minute_days=days, present=present)
        database, reader = services.database, services.log.reader
        if past is None:
            found = await answer(database, reader, question)
        else:
            at, until, since = past.moment or BEFORE_ALL, past.position, past.since
            found = await _booked(
                call, lambda: answer_at(database, reader, question, position=until, moment=at, since=since)
            )
        call.seen(found.position)
        return schemas.answered(call, question, found)

    @operation.get("/executions", scopes=FUNCTIONS_READ, parameters=parameters.EXECUTIONS, as_of=True)
    async def list_executions(self, call: Call) -> Answer:
        await call.caller()
        values, past = call.values, await requested(call)
        query = parameters.executions_query(
            call.project_id,
            values,
            now=_end(call, past),
            since=await call.incarnation(),
            last=None if past is None else past.position,
        )
        found = await page(call.services.log.reader, query, cursor=values["cursor"], limit=values["limit"])
        return json_answer(schemas.present_executions(found))


async def _answer_series(call: Call, past: AsOf | None, scope: Scope) -> Answer:
    services, chosen = call.services, call.values["range"]
    database, reader = services.database, services.log.reader
    if past is None:
        found = await read_usage(database, reader, scope, chosen, services.now(), reads=services.reads)
    else:
        at, until, since = past.moment or BEFORE_ALL, past.position, past.since
        found = await _booked(
            call, lambda: read_usage_at(database, reader, scope, chosen, position=until, moment=at, since=since)
        )
    return json_answer(schemas.present_series(found, chosen, of_one=scope.function_id is not None))


def _end(call: Call, past: AsOf | None) -> datetime:
    """Return the end of the default range: the present, or just after a moment of the past."""
    return call.services.now() if past is None else (past.moment or BEFORE_ALL) + _BEHIND


async def _booked(call: Call, read: Callable[[], Awaitable[T]]) -> T:
    """Read, and wait once for the follower of usage if it lags. Raises HistoryNotReady if it stays behind."""
    try:
        return await read()
    except NotBooked as behind:
        position = behind.position
    if await reached(call.services.database, "usage", position, seconds=moment.WAIT_SECONDS):
        return await read()
    raise HistoryNotReady

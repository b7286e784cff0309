"""The operations on usage as of a past moment."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from annals.app.as_of import moment, rows
from annals.app.as_of.moment import BEFORE_ALL, AsOf
from annals.app.edge.answers import Answer, json_answer
from annals.app.edge.call import Call
from annals.app.errors import HistoryNotReady
from annals.app.usage import schemas
from annals.projections.usage.recount import NotBooked
from annals.projections.usage.series import Scope, UsageSeries, read_usage_at
from annals.store.log.follower import reached

T = TypeVar("T")


async def list_usage(call: Call) -> Answer:
    past = await moment.requested(call)
    usage = await _read(call, past, Scope(call.project_id))
    return json_answer(schemas.present(usage, call.values["range"], of_one=False))


async def get_usage(call: Call) -> Answer:
    past = await moment.requested(call)
    function = await rows.function(call, past, call.values["functionId"])
    scope = Scope(call.project_id, function["function_id"], function["sequence"])
    return json_answer(schemas.present(await _read(call, past, scope), call.values["range"], of_one=True))


async def _read(call: Call, past: AsOf, scope: Scope) -> UsageSeries:
    """Return usage as of a moment. Raises HistoryNotReady."""
    services, chosen = call.services, call.values["range"]
    at = past.moment or BEFORE_ALL
    return await retry(
        call,
        lambda: read_usage_at(
            services.database, services.log.reader, scope, chosen, position=past.position, moment=at, since=past.since
        ),
    )


async def retry(call: Call, read: Callable[[], Awaitable[T]]) -> T:
    """Read, and wait once for the follower of usage if it lags. Raises HistoryNotReady if it stays behind."""
    try:
        return await read()
    except NotBooked as behind:
        position = behind.position
    if await reached(call.services.database, "usage", position, seconds=moment.WAIT_SECONDS):
        return await read()
    raise HistoryNotReady

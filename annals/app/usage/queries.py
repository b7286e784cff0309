"""Reading usage as the follower booked it."""

from annals.app.edge.call import Call
from annals.app.functions.queries import head, require
from annals.projections.usage.reading import Scope, Usage, read_usage


async def of_project(call: Call) -> Usage:
    return await _read(call, Scope(call.project_id))


async def of_function(call: Call) -> Usage:
    """Raises FunctionNotFound."""
    function_id = call.values["functionId"]
    function = require(call, await head(call, function_id))
    return await _read(call, Scope(call.project_id, function_id, function["sequence"]))


async def _read(call: Call, scope: Scope) -> Usage:
    services = call.services
    wanted, now = call.values["range"], services.now()
    return await read_usage(services.database, services.log.reader, scope, wanted, now, reads=services.reads)

"""Reads of usage."""

from annals.app.as_of.rows import look_up_function, require_function
from annals.app.edge.call import Call
from annals.projections.usage.series import Scope, UsageSeries, read_usage


async def of_project(call: Call) -> UsageSeries:
    return await _read(call, Scope(call.project_id))


async def of_function(call: Call) -> UsageSeries:
    """Return a function's usage. Raises FunctionNotFound."""
    function_id = call.values["functionId"]
    function = require_function(call, await look_up_function(call, function_id))
    return await _read(call, Scope(call.project_id, function_id, function["sequence"]))


async def _read(call: Call, scope: Scope) -> UsageSeries:
    services = call.services
    wanted, now = call.values["range"], services.now()
    return await read_usage(services.database, services.log.reader, scope, wanted, now, reads=services.reads)

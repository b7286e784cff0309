"""Daily quotas of a project, counted in Postgres: functions that it creates, and bytes of input that its clients send.

Every well-formed request counts, whether it succeeds or not.
"""

from datetime import UTC, datetime, timedelta

from annals.app.edge.call import Call
from annals.app.identity.caller import Caller
from annals.domain.errors import RateLimited
from annals.store.postgres import sql

QUERIES = sql.load(__package__, "quotas.sql")
FREE_INPUT_BYTES = 4096
"""Inputs up to this size cost no more than the call's own record and are not counted."""

_DAY = timedelta(days=1)


async def count_function(call: Call) -> None:
    """Count one function and send the remaining quota in headers. Raises RateLimited over the quota."""
    limit = call.services.settings.functions_create_quota
    if not limit or call.is_dry_run:
        return
    counted, ends = await _count(call, "functions.create", 1)
    call.answer_headers += [
        (b"x-ratelimit-limit", b"%d" % limit),
        (b"x-ratelimit-remaining", b"%d" % max(0, limit - counted)),
        (b"x-ratelimit-reset", b"%d" % ends),
    ]
    if counted > limit:
        again = f"{datetime.fromtimestamp(ends, UTC):%Y-%m-%d %H:%M} UTC"
        raise RateLimited(
            f"A project may create {limit} functions a day. Try again after {again}, or ask the operator to raise"
            " ANNALS_FUNCTIONS_CREATE_QUOTA (0: no limit)."
        )


async def count_input(call: Call, caller: Caller, size: int) -> None:
    """Count the stored input of an asynchronous call by a user or guest. Raises RateLimited over the quota."""
    limit = call.services.settings.client_input_bytes
    if caller.privileged or not limit or call.is_dry_run or size <= FREE_INPUT_BYTES:
        return
    counted, ends = await _count(call, "inputs.bytes", size)
    if counted > limit:
        wait = max(1, ends - int(call.services.now().timestamp()))
        raise RateLimited(
            f"Users and guests of this project have sent as many bytes to asynchronous executions as "
            f"ANNALS_CLIENT_INPUT_BYTES allows in a day. Send less than {FREE_INPUT_BYTES} bytes, or try again in "
            f"{wait} seconds.",
            retry_after=wait,
        )


async def _count(call: Call, name: str, amount: int) -> tuple[int, int]:
    """Add the amount; return the day's count and the end of the day in seconds since 1970."""
    now = call.services.now()
    day = datetime(now.year, now.month, now.day, tzinfo=UTC)
    params = {"project": call.project_id, "name": name, "begins_at": day, "amount": amount}
    counted = int(await call.services.database.value(QUERIES["count"], params))
    return counted, int((day + _DAY).timestamp())

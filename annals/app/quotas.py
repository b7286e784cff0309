"""How many functions a project may create a day; what counts is every try that was well formed, whoever made it."""

from datetime import UTC, datetime, timedelta

from annals.app.call import Call
from annals.app.refusals import RateLimited
from annals.store import sql

QUERIES = sql.load(__package__, "quotas.sql")
_DAY = timedelta(days=1)


async def count_function(call: Call) -> None:
    """Count one try and say in the answer what is left. Raises RateLimited over the quota."""
    limit = call.services.settings.functions_create_quota
    if not limit or call.is_dry_run:
        return
    now = call.services.now()
    day = datetime(now.year, now.month, now.day, tzinfo=UTC)
    tried = int(
        await call.services.database.value(
            QUERIES["count"], {"project": call.project_id, "name": "functions.create", "begins_at": day}
        )
    )
    ends = int((day + _DAY).timestamp())
    call.answer_headers += [
        (b"x-ratelimit-limit", b"%d" % limit),
        (b"x-ratelimit-remaining", b"%d" % max(0, limit - tried)),
        (b"x-ratelimit-reset", b"%d" % ends),
    ]
    if tried > limit:
        raise RateLimited(f"A project may create {limit} functions a day. Try again after {ends} (seconds since 1970).")

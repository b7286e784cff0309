"""Queries about the health of the database, the followers and the executors."""

import asyncio

from annals.app.edge.call import Call
from annals.app.health.schemas import FollowerModel, ReadyModel
from annals.domain.ports import ExecutorUnavailable
from annals.store.errors import StoreUnavailable
from annals.store.postgres import sql

QUERIES = sql.load(__package__, "queries.sql")
TIMEOUT_SECONDS = 2.0
"""Seconds that an executor may take to answer."""

AWAY = "No executor can be reached."
STANDS_STILL = "It has stopped: `annals doctor` and the keeper's log say why."
"""All that the public answer says, since a follower's error may name the contents of a project."""


async def readiness(call: Call) -> ReadyModel:
    """Check all parts that the instance needs: a writable log, moving followers, workers and an executor."""
    database = call.services.database
    executor = await _executor(call)
    try:
        writable = bool(await database.value(QUERIES["writable"]))
        followers = [
            FollowerModel(row["name"], row["lag"], STANDS_STILL if row["stopped"] else "")
            for row in await database.rows(QUERIES["followers"])
        ]
        roles = {row["role"]: row["processes"] for row in await database.rows(QUERIES["roles"])}
    except StoreUnavailable:
        return ReadyModel(False, False, executor)
    ready = writable and executor == "" and "worker" in roles and not any(follower.error for follower in followers)
    return ReadyModel(ready, writable, executor, followers, roles)


async def enforcement(call: Call) -> dict[str, dict[str, str]]:
    """Return how each executor enforces each limit: `kernel`, `watchdog` or `none`. Unreachable hosts are left out."""
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            statuses = await call.services.executor.status()
    except (ExecutorUnavailable, TimeoutError):
        return {}
    return {status.host: status.limits for status in statuses.values() if not isinstance(status, str)}


async def _executor(call: Call) -> str:
    """Return why no executor can be reached, or an empty text if one can."""
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            statuses = await call.services.executor.status()
    except TimeoutError:
        return "No executor answered in time."
    except ExecutorUnavailable:
        return AWAY
    return AWAY if all(isinstance(status, str) for status in statuses.values()) else ""

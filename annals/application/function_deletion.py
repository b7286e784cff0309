"""End the work of a deleted function: its open builds and executions are recorded as canceled, one by one.

This is safe to repeat and to interrupt: ended work is left alone, and open work is found again.
"""

import asyncio
from datetime import UTC, datetime
from typing import Any

from annals.domain.base import Key
from annals.domain.commands.deployments import abandon_build
from annals.domain.commands.executions import abandon_execution
from annals.domain.deployment import Deployment
from annals.domain.errors import Conflict, DeploymentNotFound, ExecutionNotFound
from annals.domain.execution import Execution
from annals.store.log.log import Command, EventLog, Meta
from annals.store.postgres import sql

QUERIES = sql.load(__package__, "function_deletion.sql")

_AT_ONCE = 64


async def end_work(log: EventLog, meta: Meta, *, project_id: str, function_id: str = "") -> None:
    """End all work of a deleted function, or of all deleted functions of a project. Raises StoreUnavailable."""
    await end_builds(log, meta, project_id=project_id, function_id=function_id)
    await end_executions(log, meta, project_id=project_id, function_id=function_id)


async def end_builds(log: EventLog, meta: Meta, *, project_id: str = "", function_id: str = "") -> int:
    """End the builds that the deletion of their function noted, and return how many."""
    params = {"project_id": project_id, "function_id": function_id, "limit": _AT_ONCE}
    count = 0
    while rows := await log.database.rows(QUERIES["abandoned_builds"], params):
        now = datetime.now(UTC)
        await asyncio.gather(
            *(
                _end(
                    log,
                    abandon_build,
                    Key(Deployment, row["stream_id"], DeploymentNotFound),
                    meta,
                    incarnation=row["function_sequence"],
                    seconds=_seconds_since(row["build_started_at"], now),
                )
                for row in rows
            )
        )
        ended = {name: [row[name] for row in rows] for name in ("stream_id", "function_sequence")}
        await log.database.execute(QUERIES["builds_ended"], ended)
        count += len(rows)
    return count


async def end_executions(log: EventLog, meta: Meta, *, project_id: str, function_id: str = "") -> int:
    """End the executions of deleted functions, and return how many were open."""
    params = {"project_id": project_id, "function_id": function_id, "after": 0, "limit": _AT_ONCE}
    count = 0
    while rows := await log.database.rows(QUERIES["abandoned_executions"], params):
        await asyncio.gather(
            *(
                _end(
                    log,
                    abandon_execution,
                    Key(Execution, row["stream_id"], ExecutionNotFound),
                    meta,
                    incarnation=row["function_sequence"],
                )
                for row in rows
            )
        )
        params["after"] = rows[-1]["sequence"]
        count += len(rows)
    return count


async def _end(log: EventLog, command: Command, key: Key, meta: Meta, **recorded_events: Any) -> None:
    """Record an end, again after each conflict; conflicts become rare, since no new work begins."""
    while True:
        try:
            await log.run(command, key, meta=meta, **recorded_events)
        except Conflict:
            continue
        except (DeploymentNotFound, ExecutionNotFound):  # deleted by itself meanwhile
            pass
        return


def _seconds_since(moment: datetime | None, now: datetime) -> int:
    return 0 if moment is None else max(0, round((now - moment).total_seconds()))

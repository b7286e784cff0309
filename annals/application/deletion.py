"""Delete functions and projects with all their work.

The open builds and executions of a deleted function are recorded as canceled, one by one. This is safe to repeat and
to interrupt: ended work is left alone, and open work is found again. All that a project holds is deleted before the
project, so that a later project of the same id finds no stream in use.
"""

import asyncio
from datetime import UTC, datetime
from typing import Any

from annals.domain.base import Aggregate, Key
from annals.domain.commands.executions import abandon_all
from annals.domain.commands.projects import delete_all
from annals.domain.deployment import Deployment
from annals.domain.errors import Conflict, DeploymentNotFound, DomainError, ExecutionNotFound
from annals.domain.execution import Execution
from annals.domain.function import Function
from annals.domain.project import Project
from annals.domain.team import Team
from annals.domain.user import User
from annals.store.log.log import Command, EventLog, Meta, Recorded
from annals.store.log.request import Statement
from annals.store.postgres import sql

QUERIES = sql.load(__package__, "deletion.sql")

_AT_ONCE = 64

BATCH = 200

ATTEMPTS = 16
"""How often a deletion is tried while requests keep creating functions, teams or users in the project."""

_CONTAINED: dict[str, type[Aggregate]] = {"some_functions": Function, "some_teams": Team, "some_users": User}
"""The aggregates that a project contains, by the query that finds some of a kind."""

_KINDS: dict[str, type[Aggregate]] = {"execution": Execution, "deployment": Deployment}


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
                    Deployment.abandon,
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
                    Execution.abandon,
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


async def end_project(log: EventLog, project_id: str, meta: Meta) -> Recorded:
    """Delete a project with all it holds; an interrupted deletion keeps what it deleted.

    Raises ProjectNotFound, and Conflict while requests keep creating resources in the project.
    """
    await log.load(Project.key(project_id))
    empty = Statement(QUERIES["empty"], {"project_id": project_id})
    for _ in range(ATTEMPTS):
        await _delete_contained(log, project_id, meta)
        try:
            return await log.run(Project.delete, Project.key(project_id), meta=meta, requires=[empty])
        except Conflict:
            continue
    raise Conflict


async def _delete_contained(log: EventLog, project_id: str, meta: Meta) -> None:
    for query, aggregate in _CONTAINED.items():
        while rows := await log.database.rows(QUERIES[query], {"project_id": project_id, "limit": BATCH}):
            await log.run(delete_all, *[aggregate.key(project_id, row["id"]) for row in rows], meta=meta)
    await end_work(log, meta, project_id=project_id)
    await log.database.execute(QUERIES["end_idempotency_keys"], {"project_id": project_id})


async def try_end_project(log: EventLog, project_id: str, meta: Meta) -> list[Recorded]:
    """Return what `end_project` would append, append by append, and append nothing. Raises ProjectNotFound."""
    await log.load(Project.key(project_id))
    appends: list[Recorded] = []
    for query, aggregate in _CONTAINED.items():
        rows = await log.database.rows(QUERIES[query], {"project_id": project_id, "limit": None})
        keys = [aggregate.key(project_id, row["id"]) for row in rows]
        batches = [keys[first : first + BATCH] for first in range(0, len(keys), BATCH)]
        appends += [await log.run(delete_all, *batch, meta=meta, dry_run=True) for batch in batches]
    rows = await log.database.rows(QUERIES["unfinished"], {"project_id": project_id})
    unfinished = [Key(_KINDS[row["kind"]], row["stream_id"], DomainError) for row in rows]
    batches = [unfinished[first : first + BATCH] for first in range(0, len(unfinished), BATCH)]
    appends += [await log.run(abandon_all, *batch, meta=meta, dry_run=True) for batch in batches]
    appends.append(await log.run(Project.delete, Project.key(project_id), meta=meta, dry_run=True))
    return appends

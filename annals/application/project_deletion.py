"""Delete a project: all it holds is deleted first, so that a later project of the same id finds no stream in use."""

from typing import Any

from annals.application.function_deletion import end_work
from annals.domain.base import Aggregate, Key
from annals.domain.commands.executions import abandon_all
from annals.domain.commands.functions import delete_functions
from annals.domain.commands.projects import delete_project
from annals.domain.commands.teams import delete_teams
from annals.domain.commands.users import delete_users
from annals.domain.deployment import Deployment
from annals.domain.errors import Conflict, DomainError
from annals.domain.execution import Execution
from annals.domain.function import Function
from annals.domain.project import Project
from annals.domain.team import Team
from annals.domain.user import User
from annals.store.log.log import EventLog, Meta, Recorded
from annals.store.log.request import Statement
from annals.store.postgres import sql

QUERIES = sql.load(__package__, "project_deletion.sql")
BATCH = 200

ATTEMPTS = 16
"""How often a deletion is tried while requests keep creating functions, teams or users in the project."""

_CONTAINED: tuple[tuple[str, Any, Any], ...] = (
    ("some_functions", Function, delete_functions),
    ("some_teams", Team, delete_teams),
    ("some_users", User, delete_users),
)
"""For each kind: the query that finds some of it, its aggregate, and the command that deletes them."""


_KINDS: dict[str, type[Aggregate]] = {"execution": Execution, "deployment": Deployment}


async def end_project(log: EventLog, project_id: str, meta: Meta) -> Recorded:
    """Delete a project with all it holds; an interrupted deletion keeps what it deleted.

    Raises ProjectNotFound, and Conflict while requests keep creating resources in the project.
    """
    await log.load(Project.key(project_id))
    empty = Statement(QUERIES["empty"], {"project_id": project_id})
    for _ in range(ATTEMPTS):
        await _delete_contained(log, project_id, meta)
        try:
            return await log.run(delete_project, Project.key(project_id), meta=meta, requires=[empty])
        except Conflict:
            continue
    raise Conflict


async def _delete_contained(log: EventLog, project_id: str, meta: Meta) -> None:
    for query, aggregate, command in _CONTAINED:
        while rows := await log.database.rows(QUERIES[query], {"project_id": project_id, "limit": BATCH}):
            await log.run(command, *[aggregate.key(project_id, row["id"]) for row in rows], meta=meta)
    await end_work(log, meta, project_id=project_id)
    await log.database.execute(QUERIES["end_idempotency_keys"], {"project_id": project_id})


async def try_end_project(log: EventLog, project_id: str, meta: Meta) -> list[Recorded]:
    """Return what `end_project` would append, append by append, and append nothing. Raises ProjectNotFound."""
    await log.load(Project.key(project_id))
    appends: list[Recorded] = []
    for query, aggregate, command in _CONTAINED:
        rows = await log.database.rows(QUERIES[query], {"project_id": project_id, "limit": None})
        keys = [aggregate.key(project_id, row["id"]) for row in rows]
        batches = [keys[first : first + BATCH] for first in range(0, len(keys), BATCH)]
        appends += [await log.run(command, *batch, meta=meta, dry_run=True) for batch in batches]
    rows = await log.database.rows(QUERIES["unfinished"], {"project_id": project_id})
    unfinished = [Key(_KINDS[row["kind"]], row["stream_id"], DomainError) for row in rows]
    batches = [unfinished[first : first + BATCH] for first in range(0, len(unfinished), BATCH)]
    appends += [await log.run(abandon_all, *batch, meta=meta, dry_run=True) for batch in batches]
    appends.append(await log.run(delete_project, Project.key(project_id), meta=meta, dry_run=True))
    return appends

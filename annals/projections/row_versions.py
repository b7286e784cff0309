"""Every row of projects, functions, variables, deployments and executions as it was, from position to position.

A row of the present is what its last version says; lists and gets of the past are read from the versions.
"""

from collections.abc import Iterator, Sequence

from annals.domain.deployment import Deployment
from annals.domain.execution import Execution
from annals.domain.function import Function
from annals.domain.project import Project
from annals.domain.retention import Retention
from annals.domain.team import Team
from annals.domain.user import User
from annals.projections import execution_versions
from annals.projections.inline import project
from annals.projections.replay import scratch_tables
from annals.store.log.reader import Fact
from annals.store.postgres import sql
from annals.store.postgres.database import Connection

QUERIES = sql.load(__package__, "row_versions.sql")
TABLES = ("row_versions", "execution_versions")
FOLLOWER = "row_versions"
_ELSEWHERE = (Execution.Event, Retention.Event, User.Event, Team.Event)


async def follow(conn: Connection, facts: Sequence[Fact]) -> None:
    """The follower's handler. What happens to executions touches no other versions, nor the other way round."""
    for stretch in _stretches(facts):
        if isinstance(stretch[0].event, Retention.Event):
            await execution_versions.sweep(conn, stretch[0])
        else:
            await execution_versions.apply(conn, [f for f in stretch if isinstance(f.event, Execution.Event)])
    if few := [fact for fact in facts if not isinstance(fact.event, _ELSEWHERE)]:
        async with scratch_tables.filled(conn, await _scope(conn, few)):
            await scratch_tables.run(
                conn, ((fact.position, statement) for fact in few for statement in project(fact.event))
            )  # fmt: skip


def _stretches(facts: Sequence[Fact]) -> Iterator[Sequence[Fact]]:
    """Facts between which executions may be taken together; a sweep is alone."""
    start = 0
    for index, fact in enumerate(facts):
        if isinstance(fact.event, Retention.Event):
            if index > start:
                yield facts[start:index]
            yield facts[index : index + 1]
            start = index + 1
    if start < len(facts):
        yield facts[start:]


async def _scope(conn: Connection, facts: Sequence[Fact]) -> scratch_tables.Scope:
    """What facts may touch: a function, a project's own rows, or all of a project where nothing more is known."""
    functions: set[tuple[str, str]] = set()
    deployments: set[tuple[str, str]] = set()
    projects: set[str] = set()
    for fact in facts:
        event = fact.event
        own_id = event.originator_id.rpartition(":")[2]
        if isinstance(event, Function.Event):
            functions.add((fact.project, own_id))
            if isinstance(event, Function.DeploymentActivated):
                deployments.add((fact.project, event.deployment_id))  # nothing says that it was made for this function
        elif isinstance(event, Deployment.Event):
            deployments.add((fact.project, own_id))  # its row may be another function's than the one that it is now for
            if isinstance(event, Deployment.UploadStarted):
                functions.add((fact.project, event.function_id))
        elif isinstance(event, Project.Event) and not isinstance(event, Project.Deleted):
            functions.add((fact.project, ""))
        else:
            projects.add(fact.project)
    if deployments:
        params: dict[str, object] = {
            "projects": [p for p, _ in deployments],
            "deployments": [d for _, d in deployments],
        }
        rows = await (await conn.execute(QUERIES["owners"], params)).fetchall()
        functions |= {(row["project_id"], row["function_id"]) for row in rows}
    return scratch_tables.Scope(sorted(functions), sorted(projects))

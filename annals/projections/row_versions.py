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
from annals.store.log.reader import RecordedEvent
from annals.store.postgres import sql
from annals.store.postgres.database import Connection

QUERIES = sql.load(__package__, "row_versions.sql")
TABLES = ("row_versions", "execution_versions")
FOLLOWER = "row_versions"
_ELSEWHERE = (Execution.Event, Retention.Event, User.Event, Team.Event)


async def follow(conn: Connection, recorded_events: Sequence[RecordedEvent]) -> None:
    """The follower's handler. What happens to executions touches no other versions, nor the other way round."""
    for batch in _stretches(recorded_events):
        if isinstance(batch[0].event, Retention.Event):
            await execution_versions.sweep(conn, batch[0])
        else:
            await execution_versions.apply(conn, [f for f in batch if isinstance(f.event, Execution.Event)])
    if few := [
        recorded_event for recorded_event in recorded_events if not isinstance(recorded_event.event, _ELSEWHERE)
    ]:
        async with scratch_tables.filled(conn, await _scope(conn, few)):
            await scratch_tables.run(
                conn, ((recorded.position, statement) for recorded in few for statement in project(recorded.event))
            )


def _stretches(recorded_events: Sequence[RecordedEvent]) -> Iterator[Sequence[RecordedEvent]]:
    """EventReader between which executions may be taken together; a sweep is alone."""
    start = 0
    for index, recorded_event in enumerate(recorded_events):
        if isinstance(recorded_event.event, Retention.Event):
            if index > start:
                yield recorded_events[start:index]
            yield recorded_events[index : index + 1]
            start = index + 1
    if start < len(recorded_events):
        yield recorded_events[start:]


async def _scope(conn: Connection, recorded_events: Sequence[RecordedEvent]) -> scratch_tables.Scope:
    """What facts may touch: a function, a project's own rows, or all of a project where nothing more is known."""
    functions: set[tuple[str, str]] = set()
    deployments: set[tuple[str, str]] = set()
    projects: set[str] = set()
    for recorded_event in recorded_events:
        event = recorded_event.event
        own_id = event.originator_id.rpartition(":")[2]
        if isinstance(event, Function.Event):
            functions.add((recorded_event.project, own_id))
            if isinstance(event, Function.DeploymentActivated):
                deployments.add(
                    (recorded_event.project, event.deployment_id)
                )  # nothing says that it was made for this function
        elif isinstance(event, Deployment.Event):
            deployments.add(
                (recorded_event.project, own_id)
            )  # its row may be another function's than the one that it is now for
            if isinstance(event, Deployment.UploadStarted):
                functions.add((recorded_event.project, event.function_id))
        elif isinstance(event, Project.Event) and not isinstance(event, Project.Deleted):
            functions.add((recorded_event.project, ""))
        else:
            projects.add(recorded_event.project)
    if deployments:
        params: dict[str, object] = {
            "projects": [p for p, _ in deployments],
            "deployments": [d for _, d in deployments],
        }
        rows = await (await conn.execute(QUERIES["owners"], params)).fetchall()
        functions |= {(row["project_id"], row["function_id"]) for row in rows}
    return scratch_tables.Scope(sorted(functions), sorted(projects))

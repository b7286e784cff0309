"""The simulation's statements, written in Python, make the same rows as Postgres from the same history."""

from datetime import UTC, datetime
from typing import Any

from annals.domain.commands.deployments import cancel_build, delete_deployment
from annals.domain.commands.executions import cancel_execution, delete_execution
from annals.domain.commands.functions import activate_deployment, change_policy
from annals.domain.deployment import Deployment
from annals.domain.execution import Execution
from annals.domain.function import Function
from annals.domain.policy import Policy, Retries
from annals.domain.ports import Outcome
from annals.projections.inline import project
from tests.integration.workers.world import META, PROJECT, World
from tests.simulation import statements_executions, statements_models  # noqa: F401 - they register their statements
from tests.simulation.closing import Rebuilding
from tests.simulation.transactions import STATEMENTS, Row


class Nothing:
    """A database before the first commit."""

    def __init__(self) -> None:
        self.tables: dict[str, dict[Any, Row]] = {}
        self.events: list[Row] = []
        self.streams: dict[str, list[Row]] = {}

    def now(self) -> datetime:
        return datetime.now(UTC)

    def next_position(self) -> int:
        return 0


async def history(world: World) -> None:
    """Record at least one of each event of functions, deployments and executions."""
    incarnation = await world.built(schedule="* * * * *")
    worker, builds = world.executions(await world.process_lease()), world.builds(await world.process_lease())
    await worker.run(await world.request("x1", incarnation))
    world.executor.outcome = Outcome(status_code=500, reason="crashed", message="It died.", logs="so far")
    await worker.run(await world.request("x2", incarnation, retries=Retries(attempts=2)))
    await worker.run(await world.request("x3", incarnation))
    of_f: dict[str, Any] = {"function_id": "f", "incarnation": incarnation}
    await world.log.run(cancel_execution, Execution.key(PROJECT, "x2"), meta=META, **of_f)
    await world.log.run(delete_execution, Execution.key(PROJECT, "x3"), meta=META, stale=False, **of_f)
    await world.log.run(
        change_policy, Function.key(PROJECT, "f"), meta=META, policy=Policy(retries=Retries(attempts=3))
    )
    await builds.run(await world.deployment(incarnation, "d2"))
    await world.deployment(incarnation, "d3")
    await world.log.run(cancel_build, Deployment.key(PROJECT, "d3"), meta=META, function_id="f", seconds=1)
    both = Function.key(PROJECT, "f"), Deployment.key(PROJECT, "d-f")
    await world.log.run(activate_deployment, *both, meta=META)
    await world.log.run(delete_deployment, *both, meta=META)
    await world.request("x4", await world.built("g"), function_id="g")
    await world.log.run(Function.delete, Function.key(PROJECT, "g"), meta=META)


async def test_simulated_and_real_postgres_keep_the_same_rows(world: World) -> None:
    await history(world)
    simulated: Any = Rebuilding(Nothing())
    for row in await world.database.rows("SELECT * FROM events ORDER BY notification_id"):
        event = world.log.reader.recorded_event(row).event
        simulated.current = row
        if isinstance(event, Function.Event | Deployment.Event | Execution.Event):
            for statement in project(event):
                STATEMENTS[statement.sql](simulated, statement.params)

    for table in ("functions", "deployments", "executions"):
        found = {row["stream_id"]: row for row in await world.database.rows(f"SELECT * FROM {table}")}  # noqa: S608
        rows = dict(simulated.rows(table))
        assert rows.keys() == found.keys()
        for stream, row in rows.items():
            assert row == {name: found[stream][name] for name in row}, stream
    counters = await world.database.rows("SELECT * FROM counters WHERE name <> 'projects' AND value <> 0")
    counted = {key: row["value"] for key, row in simulated.rows("counters") if row["value"]}
    assert counted == {(row["project_id"], row["scope"], row["name"]): row["value"] for row in counters}

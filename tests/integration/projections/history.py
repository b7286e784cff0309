"""Short methods that record histories on a real log, as the API and workers do."""

from datetime import UTC, datetime
from typing import Any

from annals.domain.commands import deployments, projects
from annals.domain.deployment import Deployment
from annals.domain.execution import CallRequest, Execution, RunRecord
from annals.domain.function import Configuration, Function
from annals.domain.ports import Artefact
from annals.domain.project import ApiKey, Project
from annals.domain.variables import Variable
from annals.store.log.log import EventLog, Meta, Recorded
from annals.store.postgres.database import Database, Row

META = Meta(actor="test")
P, F = "p", "f"


def configuration(**changes: Any) -> Configuration:
    recorded_events: dict[str, Any] = {
        "name": "Hello",
        "runtime": "node-22",
        "entrypoint": "index.js",
        "build_specification": "s-1vcpu-1gb",
        "runtime_specification": "s-1vcpu-512mb",
    }
    return Configuration(**{**recorded_events, **changes})


def artefact(key: str, size: int = 100) -> Artefact:
    return Artefact(key=key, digest=f"digest-of-{key}", size=size)


class History:
    """A project `p` with functions; every method returns the result of its append."""

    def __init__(self, log: EventLog, database: Database) -> None:
        self.log, self.database = log, database
        self.incarnations: dict[str, int] = {}

    async def project(self, project_id: str = P) -> Recorded:
        key = ApiKey(key_id="k", name="all", digest=f"digest-{project_id}", scopes=["functions.read"])
        return await self.log.run(
            projects.create_project,
            Project.absent(project_id),
            meta=META,
            project_id=project_id,
            name="Main",
            keys=[key],
        )

    async def function(self, function_id: str = F, **changes: Any) -> Recorded:
        recorded = await self.log.run(
            Function.create,
            Function.absent(P, function_id),
            meta=META,
            project_id=P,
            function_id=function_id,
            configuration=configuration(**changes),
        )
        self.incarnations[function_id] = recorded.position
        return recorded

    async def update(self, function_id: str = F, **changes: Any) -> Recorded:
        return await self.log.run(
            Function.update, Function.key(P, function_id), meta=META, configuration=configuration(**changes)
        )

    async def delete_function(self, function_id: str = F) -> Recorded:
        return await self.log.run(Function.delete, Function.key(P, function_id), meta=META)

    async def add_variable(self, variable_id: str, key: str, function_id: str = F, *, secret: bool = False) -> Recorded:
        variable = Variable(variable_id=variable_id, key=key, sealed=f"sealed-{key}", secret=secret)
        return await self.log.run(Function.add_variable, Function.key(P, function_id), meta=META, variable=variable)

    async def upload(
        self, deployment_id: str, function_id: str = F, *, activate: bool = True, size: int = 50
    ) -> Recorded:
        return await self.log.run(
            deployments.create_deployment,
            Deployment.absent(P, deployment_id),
            meta=META,
            source=artefact(f"sources/{deployment_id}", size),
            project_id=P,
            function_id=function_id,
            function_incarnation=self.incarnations[function_id],
            deployment_id=deployment_id,
            type="manual",
            entrypoint="index.js",
            commands="npm install",
            activate=activate,
            size=size,
        )

    async def claim_build(self, deployment_id: str, worker: str = "w1") -> Recorded:
        return await self.log.run(Deployment.claim_build, Deployment.key(P, deployment_id), meta=META, worker=worker)

    async def finish_build(
        self, deployment_id: str, function_id: str = F, *, epoch: int = 1, activate: bool = True, seconds: int = 2
    ) -> Recorded:
        return await self.log.run(
            deployments.complete_build,
            Function.key(P, function_id),
            Deployment.key(P, deployment_id),
            meta=META,
            epoch=epoch,
            artefact=artefact(f"artefacts/{deployment_id}", 300),
            activate=activate,
            milliseconds=seconds * 1000,
            specification="s-1vcpu-1gb",
            logs_digest="",
            logs_size=0,
        )

    async def fail_build(self, deployment_id: str, *, epoch: int = 1) -> Recorded:
        return await self.log.run(
            Deployment.fail_build,
            Deployment.key(P, deployment_id),
            meta=META,
            epoch=epoch,
            reason="command_failed",
            message="npm install ended with 1.",
            milliseconds=1500,
            specification="s-1vcpu-1gb",
        )

    async def deploy(self, deployment_id: str, function_id: str = F, *, activate: bool = True) -> Recorded:
        await self.upload(deployment_id, function_id, activate=activate)
        await self.claim_build(deployment_id)
        return await self.finish_build(deployment_id, function_id, activate=activate)

    async def request(self, execution_id: str, function_id: str = F, **recorded_events: Any) -> Recorded:
        given = {
            "trigger": "http",
            "request": CallRequest(method="POST", path="/"),
            "deployment_id": "d",
            **recorded_events,
        }
        return await self.log.run(
            Execution.request_run,
            Execution.absent(P, execution_id),
            meta=META,
            project_id=P,
            function_id=function_id,
            function_incarnation=self.incarnations[function_id],
            function_version=1,
            execution_id=execution_id,
            **given,
        )

    async def claim(self, execution_id: str, worker: str = "w1") -> Recorded:
        return await self.log.run(
            Execution.claim, Execution.key(P, execution_id), meta=META, worker=worker
        )  # fmt: skip

    async def complete(self, execution_id: str, *, run_ms: int = 1500, status_code: int = 200, **more: Any) -> Recorded:
        execution = await self.log.load(Execution.key(P, execution_id))
        used = RunRecord(
            deployment_id="d1",
            function_version=3,
            environment_digest="abc",
            specification="s-1vcpu-512mb",
            cold=True,
            queue_ms=4,
            start_ms=20,
            run_ms=run_ms,
        )
        if status_code < 500:
            execution.complete(execution.epoch, status_code=status_code, headers=[], ran=used, **more)
        else:
            execution.fail(
                execution.epoch, "error", "", now=datetime.now(UTC), status_code=status_code, ran=used, **more
            )
        return await self.log.record([execution], meta=META)

    async def run(self, execution_id: str, function_id: str = F, **recorded_events: Any) -> Recorded:
        await self.request(execution_id, function_id, worker="api-1")
        return await self.complete(execution_id, **recorded_events)

    async def row(self, table: str, id: str) -> Row | None:  # noqa: A002 - any resource's id
        column = {"functions": "function_id", "deployments": "deployment_id", "executions": "execution_id"}[table]
        query = f"SELECT * FROM {table} WHERE project_id = 'p' AND {column} = %s"  # noqa: S608 - names of ours
        return await self.database.row(query, (id,))

    async def the(self, table: str, id: str) -> Row:  # noqa: A002 - any resource's id
        row = await self.row(table, id)
        assert row is not None, f"{table} has no {id}"
        return row

    async def count(self, name: str, scope: str = F) -> int:
        found = await self.database.value(
            "SELECT value FROM counters WHERE project_id = 'p' AND scope = %s AND name = %s", (scope, name)
        )
        return int(found or 0)

"""One process's view of an instance: the log, its parts, and the few commands by which tests set a scene."""

from base64 import b64encode
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from annals.application.build_preparation import BuildLimits
from annals.application.event_log import open_log
from annals.application.executions.context import Environments
from annals.domain.commands.deployments import create_deployment
from annals.domain.commands.projects import create_project
from annals.domain.deployment import Deployment
from annals.domain.environment import InstanceInfo
from annals.domain.execution import CallRequest, Execution
from annals.domain.function import Configuration, Function
from annals.domain.policy import Retries
from annals.domain.ports import Artefact
from annals.domain.project import Project
from annals.store.content.blobs import Blobs
from annals.store.content.contents import Contents
from annals.store.content.inputs import Input, digest_and_size, seal_input
from annals.store.coordination.leases import BuildSlots, Leases, ProcessLease
from annals.store.log.log import EventLog, Meta
from annals.store.postgres.database import Database
from annals.store.postgres.listener import Listener
from annals.store.secrets.vault import Vault, master_key
from annals.vcs.client import Repositories
from annals.vcs.jobs import FetchBounds
from annals.vcs.locating import Locator
from annals.workers.builds import BuildActor
from annals.workers.executions import ExecutionActor
from annals.workers.job_messages import JobMessage
from annals.workers.redelivery import Queue
from annals.workers.sources import SourceFetcher, Statuses
from tests.integration.workers.executor import FakeExecutor

META = Meta(actor="key:k1", request="r1", correlation="r1")
PROJECT = "p"
MASTER = b64encode(b"m" * 32)
BUILD_SLOTS = BuildSlots(2, 1)
SOURCE = Artefact(key="sources/p/s1", digest="b" * 64, size=77)


class Deaf:
    """A queue without a consumer."""

    def wake(self, job_messages: Iterable[JobMessage]) -> int:
        return len(list(job_messages))

    def queued(self, queue_name: str, tenant: str = "") -> int:
        return 0


@dataclass
class World:
    database: Database
    log: EventLog
    contents: Contents
    vault: Vault
    environments: Environments
    listener: Listener
    executor: FakeExecutor
    incarnations: dict[str, int] = field(default_factory=dict)
    remotes: dict[str, str] = field(default_factory=dict)

    def executions(self, process_lease: ProcessLease, log: EventLog | None = None) -> ExecutionActor:
        return ExecutionActor(
            log or self.log,
            process_lease=process_lease,
            contents=self.contents,
            vault=self.vault,
            environments=self.environments,
            executor=self.executor,
            start_seconds=30.0,
        )

    def builds(
        self, process_lease: ProcessLease, statuses: Statuses | None = None, *, queue: Queue | None = None
    ) -> BuildActor:
        return BuildActor(
            self.log,
            process_lease=process_lease,
            vault=self.vault,
            environments=self.environments,
            executor=self.executor,
            sources=SourceFetcher(
                self.log, blobs=self.contents.blobs, locator=self.locator, repositories=self.repositories
            ),
            statuses=statuses or self.statuses(),
            limits=BuildLimits(timeout_seconds=900, output_limit_bytes=10**9, executor_pause_seconds=0.01),
            queue=queue or Deaf(),
        )

    def statuses(self) -> Statuses:
        return Statuses(self.log, self.locator, self.repositories)

    @property
    def locator(self) -> Locator:
        return Locator(self.log, self.vault, self.remotes)

    @property
    def repositories(self) -> Repositories:
        return Repositories(allowed_hosts=("127.0.0.1",), bounds=FetchBounds(seconds=90))

    async def process_lease(
        self, role: str = "worker", *, lease_seconds: float = 10, builds: BuildSlots = BUILD_SLOTS
    ) -> ProcessLease:
        process_lease = ProcessLease(Leases(self.database), role, lease_seconds=lease_seconds, builds=builds)
        await process_lease.enter()
        return process_lease

    async def function(self, function_id: str = "f", *, project_id: str = PROJECT, **changes: Any) -> int:
        """Make a function, and return its incarnation."""
        settings: dict[str, Any] = {
            "name": "F",
            "runtime": "node-22",
            "entrypoint": "main.js",
            "build_specification": "s-1vcpu-512mb",
            "runtime_specification": "s-1vcpu-512mb",
            "scopes": ["users.read"],
        }
        made = await self.log.run(
            Function.create,
            Function.absent(project_id, function_id),
            meta=META,
            project_id=project_id,
            function_id=function_id,
            configuration=Configuration(**settings | changes),
        )
        self.incarnations[function_id] = made.position
        return made.position

    async def deployment(
        self,
        incarnation: int,
        deployment_id: str = "d",
        function_id: str = "f",
        *,
        activate: bool = True,
        project_id: str = PROJECT,
    ) -> str:
        """Make a deployment with a stored source and a queued build, and return its stream."""
        await self.log.run(
            create_deployment,
            Deployment.absent(project_id, deployment_id),
            meta=META,
            source=SOURCE,
            project_id=project_id,
            function_id=function_id,
            function_incarnation=incarnation,
            deployment_id=deployment_id,
            type="manual",
            entrypoint="main.js",
            commands="npm install",
            activate=activate,
            size=77,
        )
        return Deployment.stream(project_id, deployment_id)

    async def built(self, function_id: str = "f", **changes: Any) -> int:
        """Make a function whose active deployment is ready, and return its incarnation."""
        incarnation = await self.function(function_id, **changes)
        stream = await self.deployment(incarnation, f"d-{function_id}", function_id)
        await self.builds(await self.process_lease()).run(stream)
        return incarnation

    async def request(
        self,
        execution_id: str,
        incarnation: int,
        *,
        function_id: str = "f",
        given: Input | None = None,
        scheduled_at: datetime | None = None,
        worker: str = "",
        pinned: str = "",
        retries: Retries | None = None,
    ) -> str:
        """Make a waiting execution, or one of `worker`, of the deployment `pinned`; return its stream."""
        stream = Execution.stream(PROJECT, execution_id)
        contents = [] if given is None else [await seal_input(self.vault, PROJECT, stream, given)]
        digest, size = digest_and_size(contents[0]) if contents else ("", 0)
        await self.log.run(
            Execution.request_run,
            Execution.absent(PROJECT, execution_id),
            meta=META,
            contents=contents,
            project_id=PROJECT,
            function_id=function_id,
            function_incarnation=incarnation,
            function_version=1,
            execution_id=execution_id,
            deployment_id=pinned or "d",
            pinned=bool(pinned),
            trigger="schedule" if scheduled_at else "http",
            request=CallRequest(method="PUT", path="/a?b=1", user_id="u1", input_digest=digest, input_size=size),
            scheduled_at=scheduled_at,
            worker=worker,
            retries=retries,
        )
        return stream

    async def execution(self, execution_id: str) -> dict[str, Any]:
        return await self._row("executions", Execution.stream(PROJECT, execution_id))

    async def deployed(self, deployment_id: str = "d") -> dict[str, Any]:
        return await self._row("deployments", Deployment.stream(PROJECT, deployment_id))

    async def functions(self, function_id: str = "f") -> dict[str, Any]:
        return await self._row("functions", Function.stream(PROJECT, function_id))

    async def topics(self, stream: str) -> list[str]:
        return [recorded_event.event.TOPIC for recorded_event in await self.log.reader.of_stream(stream)]

    async def build_log(self, deployment_id: str = "d") -> str:
        """Return the log that a reader of a running or canceled build sees."""
        rows = await self.database.rows(
            "SELECT b.chunk FROM build_logs b JOIN deployments d USING (stream_id, epoch)"
            " WHERE b.stream_id = %s ORDER BY b.seq",
            (Deployment.stream(PROJECT, deployment_id),),
        )
        return "".join(row["chunk"] for row in rows)

    async def kept(self, stream: str, kind: str) -> str:
        return (await self.contents.read(stream, kind)).decode()

    async def _row(self, table: str, stream: str) -> dict[str, Any]:
        row = await self.database.row(f"SELECT * FROM {table} WHERE stream_id = %s", (stream,))  # noqa: S608
        assert row is not None
        return row


@asynccontextmanager
async def opened(url: str, folder: Path, executor: FakeExecutor | None = None) -> AsyncIterator[World]:
    """A world over a migrated database; open several for several processes."""
    database = await Database.open(url, size=16)
    contents = Contents(database, Blobs.open(folder / "blobs"))
    log = await open_log(database, contents)
    (folder / "master.key").write_bytes(MASTER)
    vault = Vault(database, master_key(folder / "master.key"))
    platform = InstanceInfo(endpoint="http://localhost/v1", version="1.9.0", region="default")
    try:
        async with Listener.open(database) as listener:
            yield World(
                database,
                log,
                contents,
                vault,
                Environments(database, vault, platform),
                listener,
                executor or FakeExecutor(),
            )
    finally:
        await log.close()
        await database.close()


async def with_project(world: World) -> World:
    await world.log.run(
        create_project, Project.absent(PROJECT), meta=META, project_id=PROJECT, name="P", keys=[]
    )  # fmt: skip
    return world

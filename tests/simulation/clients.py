"""Clients of the simulation: they run the routes' commands. A call is done, refused, of unknown outcome or never
answered.
"""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from annals.app.deployments import uploads
from annals.app.deployments.ranges import UploadChunk
from annals.app.errors import SynchronousTimeout
from annals.app.executions.run import run_now
from annals.application.deployment_requests import DeploymentOwner
from annals.domain.base import Key
from annals.domain.commands.deployments import cancel_build, delete_deployment
from annals.domain.commands.executions import cancel_execution, delete_execution
from annals.domain.commands.functions import (
    activate_deployment,
    change_policy,
)
from annals.domain.deployment import Deployment
from annals.domain.errors import DomainError, ExecutionAlreadyExists
from annals.domain.execution import CallRequest, Execution
from annals.domain.function import Configuration, Function
from annals.domain.policy import Policy, Retries, Scaling, policy_from
from annals.store.content.blobs import BlobError
from annals.store.content.contents import source_key
from annals.store.errors import StoreUnavailable
from annals.store.log.log import Meta, Recorded
from tests.simulation.calls import META, PROJECT, RecordingLog, SimulatedCall
from tests.simulation.nodes import Parts
from tests.simulation.transactions import Row

if TYPE_CHECKING:
    from tests.simulation.world import World

TIMEOUT = 3
_SIZE = "s-1vcpu-512mb"


def configuration(marker: str, schedule: str = "") -> Configuration:
    return Configuration(
        name=marker,
        runtime="node-22",
        entrypoint="main.js",
        timeout=TIMEOUT,
        schedule=schedule,
        build_specification=_SIZE,
        runtime_specification=_SIZE,
    )


class Client:
    """A client of one API process and one project. Its calls may never be answered."""

    def __init__(self, world: "World", name: str, project: str = PROJECT) -> None:
        self._world, self._name, self._project = world, name, project

    async def _parts(self) -> Parts:
        return await asyncio.shield(self._world.apis[self._name])

    def begin(self, label: str, call: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
        """Send a request; its task may never end."""
        return self._world.nodes[self._name].spawn(self._perform(label, call))

    async def _perform(self, label: str, call: Coroutine[Any, Any, Any]) -> Any:
        world = self._world
        try:
            answer = await call
        except (DomainError, SynchronousTimeout) as error:
            world.say(f"{label}: {type(error).__name__}")
            if isinstance(error, ExecutionAlreadyExists):  # the client requests each id once
                world.fail(f"{label} was refused because of its own recorded event")
            return error
        except (StoreUnavailable, BlobError) as unknown:
            world.say(f"{label}: {type(unknown).__name__}")
            return unknown
        except Exception as error:
            world.fail(f"{label} failed: {error!r}")
            raise
        if isinstance(answer, Recorded):
            world.ledger.acknowledge(answer.events, self.known)
        world.say(f"{label}: done")
        return answer

    def known(self, stream: str, version: int) -> Row | None:
        rows = self._world.server.streams.get(stream, [])
        return rows[version - 1] if version <= len(rows) else None

    async def _run(self, command: Any, *keys: Key, meta: Meta = META, **recorded_events: Any) -> Recorded:
        return await (await self._parts()).log.run(command, *keys, meta=meta, **recorded_events)

    async def create_function(self, function_id: str, *, meta: Meta = META, **settings: Any) -> Recorded:
        recorded_events = {
            "project_id": self._project,
            "function_id": function_id,
            "configuration": configuration(**settings),
        }
        return await self._run(
            Function.create, Function.absent(self._project, function_id), meta=meta, **recorded_events
        )

    async def update_function(self, function_id: str, **settings: Any) -> Recorded:
        key = Function.key(PROJECT, function_id)
        return await self._run(Function.update, key, configuration=configuration(**settings))

    async def change_policy(self, function_id: str, *, attempts: int, concurrency: int) -> Recorded:
        scaling = Scaling(concurrency=concurrency)
        policy = Policy(scaling=scaling, retries=Retries(attempts=attempts, backoff_seconds=1))
        return await self._run(change_policy, Function.key(PROJECT, function_id), policy=policy)

    async def delete_function(self, function_id: str) -> Recorded:
        return await self._run(Function.delete, Function.key(PROJECT, function_id))

    async def deploy(self, function_id: str, deployment_id: str, *, activate: bool) -> Recorded | None:
        incarnation = self._incarnation(function_id)
        if incarnation is None:
            return None
        call = await self._call()
        call.project_id = self._project
        key = source_key(self._project, deployment_id)
        source = await call.services.blobs.put(key, f"code of {deployment_id}".encode())
        recording = call.services.log = RecordingLog(call.services.log)
        await uploads.create(call, _upload(function_id, deployment_id, incarnation, activate=activate), source)
        return recording.last_answer

    async def activate(self, function_id: str, deployment_id: str) -> Recorded:
        keys = Function.key(PROJECT, function_id), Deployment.key(PROJECT, deployment_id)
        return await self._run(activate_deployment, *keys)

    async def cancel_build(self, function_id: str, deployment_id: str) -> Recorded:
        key = Deployment.key(PROJECT, deployment_id)
        return await self._run(cancel_build, key, function_id=function_id, seconds=1)

    async def delete_deployment(self, function_id: str, deployment_id: str) -> Recorded:
        keys = Function.key(PROJECT, function_id), Deployment.key(PROJECT, deployment_id)
        return await self._run(delete_deployment, *keys)

    async def request(self, function_id: str, execution_id: str, *, after: float | None = None) -> Recorded | None:
        """Request an execution: now, or `after` seconds."""
        row = self._world.server.rows("functions").get(Function.stream(self._project, function_id))
        if row is None or not row["deployment_id"]:
            return None
        due = None if after is None else self._world.clocks.here() + timedelta(seconds=after)
        return await self._run(
            Execution.request_run,
            Execution.absent(self._project, execution_id),
            project_id=self._project,
            function_id=function_id,
            function_incarnation=row["sequence"],
            function_version=row["version"],
            execution_id=execution_id,
            deployment_id=row["deployment_id"],
            trigger="schedule" if due else "http",
            request=CallRequest(method="GET", path="/"),
            scheduled_at=due,
            retries=policy_from(row["policy"]).retries_of_calls,
        )

    async def run_now(self, function_id: str) -> Any:
        """Run the function, and wait for its answer."""
        parts = await self._parts()
        context = await parts.environments.active(PROJECT, function_id)
        if context is None or context.deployment is None or context.deployment.status != "ready":
            return None
        call: Any = SimulatedCall(self._world, parts)
        return await run_now(call, context)

    async def cancel(self, function_id: str, execution_id: str) -> Recorded:
        incarnation = self._incarnation(function_id) or 0
        key = Execution.key(PROJECT, execution_id)
        return await self._run(cancel_execution, key, function_id=function_id, incarnation=incarnation)

    async def delete_execution(self, function_id: str, execution_id: str) -> Recorded:
        recorded_events: dict[str, Any] = {
            "function_id": function_id,
            "incarnation": self._incarnation(function_id) or 0,
            "stale": False,
        }
        return await self._run(delete_execution, Execution.key(PROJECT, execution_id), **recorded_events)

    async def upload_chunk(self, function_id: str, deployment_id: str, chunk: UploadChunk, data: bytes) -> Any:
        """Upload one chunk as the route does."""
        incarnation = self._incarnation(function_id)
        if incarnation is None:
            return None
        call = await self._call()
        await uploads.keep_chunk(call, function_id, deployment_id, chunk, _pieces(data))
        return await uploads.add_chunk(call, _upload(function_id, deployment_id, incarnation, activate=True), chunk)

    async def _call(self) -> Any:
        return SimulatedCall(self._world, await self._parts())

    def _incarnation(self, function_id: str) -> int | None:
        row = self._world.server.rows("functions").get(Function.stream(self._project, function_id))
        return None if row is None else int(row["sequence"])


def _upload(function_id: str, deployment_id: str, incarnation: int, *, activate: bool) -> uploads.Upload:
    return uploads.Upload(
        function_id=function_id,
        owner=DeploymentOwner(incarnation, "main.js", ""),
        deployment_id=deployment_id,
        type="manual",
        entrypoint="main.js",
        commands="",
        activate=activate,
    )


async def _pieces(data: bytes) -> AsyncIterator[bytes]:
    for first in range(0, len(data), 2):
        yield data[first : first + 2]

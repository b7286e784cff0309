"""What clients do, through the commands that the routes call; each call is done, refused, unknown or never answered."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from annals.app import negotiation
from annals.app.caller import Caller
from annals.app.deployments import queries as deployment_queries
from annals.app.deployments import uploads
from annals.app.deployments.ranges import Chunk
from annals.app.executions import queries as execution_queries
from annals.app.executions.run import run_now
from annals.app.reads import Found, Lookup
from annals.app.refusals import RateLimited, SynchronousTimeout
from annals.domain.base import Key
from annals.domain.commands.deployments import cancel_build, create_deployment, delete_deployment
from annals.domain.commands.executions import cancel_execution, delete_execution, request_execution
from annals.domain.commands.functions import (
    activate_deployment,
    change_policy,
    create_function,
    delete_function,
    update_function,
)
from annals.domain.deployment import Deployment
from annals.domain.errors import DomainError, ExecutionAlreadyExists
from annals.domain.execution import Execution, Request
from annals.domain.function import Configuration, Function
from annals.domain.policy import Policy, Retries, Scaling, policy_from
from annals.domain.ports import Artefact
from annals.store.blobs import BlobMissing
from annals.store.errors import StoreUnavailable
from annals.store.ids import generate_id
from annals.store.log import Meta, Recorded
from tests.simulation.nodes import START_SECONDS, Parts
from tests.simulation.transactions import Row, Tx, on

if TYPE_CHECKING:
    from tests.simulation.world import World

PROJECT = "p"
META = Meta(actor="key:k1", request="r1", correlation="r1")
TIMEOUT = 3
SYNC_SECONDS = 6
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


@on(execution_queries.ONE.sql)
def _one_execution(tx: Tx, p: Any) -> list[Row]:
    row = tx.get("executions", f"execution:{p[0][0]}:{p[1][0]}")
    output = dict.fromkeys(("logs_data", "logs_blob", "errors_data", "errors_blob"))
    return [] if row is None else [{**row, **output, "stale": False}]


@on(deployment_queries.ONE.sql)
def _one_deployment(tx: Tx, p: Any) -> list[Row]:
    row = tx.get("deployments", f"deployment:{p[0][0]}:{p[1][0]}")
    return [] if row is None else [{**row, "log_data": None, "log_blob": None, "log_pieces": ""}]


class _Settings:
    start_timeout_s = START_SECONDS
    sync_wait_s = SYNC_SECONDS
    upload_limit_bytes = 10**9


class _Services:
    """Of an API process, what running at once and uploading need."""

    def __init__(self, world: "World", parts: Parts) -> None:
        self._world, self._parts = world, parts
        self.log, self.blobs, self.environments = parts.log, world.blobs, parts.environments
        self.executor, self.settings = world.executor, _Settings()
        self.reads = self.admission = self
        self.places, self.stints = parts.places, parts.stints

    def admitted(self, context: Any) -> AbstractContextManager[None]:
        """Everybody is."""
        return nullcontext()

    def holder(self) -> str:
        return self._parts.presence.id

    def now(self) -> Any:
        return self._world.clocks.here()

    async def signing_secret(self, project: str) -> bytes:
        return b"k" * 32

    async def look_up(self, lookup: Lookup, *key: str) -> Found:
        rows = await self._parts.database.rows(lookup.sql, [[part] for part in key])
        return Found(rows, 0)


class SimulatedCall:
    """A request as far as the code behind the routes looks at it."""

    def __init__(self, world: "World", parts: Parts) -> None:
        self.services = _Services(world, parts)
        self.project_id = PROJECT
        self.request_id, self.reserved_id = "r1", ""
        self.address = ""
        self.values: dict[str, Any] = {"method": "GET", "path": "/", "headers": {}, "body": b""}
        self.generation = negotiation.negotiate("")

    async def caller(self) -> Caller:
        return Caller(word="applications", scopes=frozenset(), actor="key:k1")

    async def meta(self) -> Meta:
        return META

    def new_id(self) -> str:
        return generate_id()

    def seen(self, position: int) -> None:
        return


class Client:
    """A client of one API process; its calls may never be answered."""

    def __init__(self, world: "World", name: str) -> None:
        self._world, self._name = world, name

    async def _parts(self) -> Parts:
        return await asyncio.shield(self._world.apis[self._name])

    def begin(self, what: str, call: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
        """Send a request; its task may never end."""
        return self._world.nodes[self._name].spawn(self._told(what, call))

    async def _told(self, what: str, call: Coroutine[Any, Any, Any]) -> Any:
        world = self._world
        try:
            answer = await call
        except (DomainError, SynchronousTimeout, RateLimited) as refusal:
            world.say(f"{what}: {type(refusal).__name__}")
            if isinstance(refusal, ExecutionAlreadyExists):  # each is asked for once
                world.fail(f"{what} was refused for what it had recorded itself")
            return refusal
        except (StoreUnavailable, BlobMissing) as unknown:
            world.say(f"{what}: {type(unknown).__name__}")
            return unknown
        except Exception as error:
            world.fail(f"{what} failed: {error!r}")
            raise
        if isinstance(answer, Recorded):
            world.ledger.acknowledge(answer.events, self.known)
        world.say(f"{what}: done")
        return answer

    def known(self, stream: str, version: int) -> Row | None:
        rows = self._world.server.streams.get(stream, [])
        return rows[version - 1] if version <= len(rows) else None

    async def _run(self, command: Any, *keys: Key, **facts: Any) -> Recorded:
        return await (await self._parts()).log.run(command, *keys, meta=META, **facts)

    async def create_function(self, function_id: str, **settings: Any) -> Recorded:
        facts = {"project_id": PROJECT, "function_id": function_id, "configuration": configuration(**settings)}
        return await self._run(create_function, Function.absent(PROJECT, function_id), **facts)

    async def update_function(self, function_id: str, **settings: Any) -> Recorded:
        key = Function.key(PROJECT, function_id)
        return await self._run(update_function, key, configuration=configuration(**settings))

    async def change_policy(self, function_id: str, *, attempts: int, concurrency: int) -> Recorded:
        scaling = Scaling(concurrency=concurrency)
        policy = Policy(scaling=scaling, retries=Retries(attempts=attempts, backoff_seconds=1))
        return await self._run(change_policy, Function.key(PROJECT, function_id), policy=policy)

    async def delete_function(self, function_id: str) -> Recorded:
        return await self._run(delete_function, Function.key(PROJECT, function_id))

    async def deploy(self, function_id: str, deployment_id: str, *, activate: bool) -> Recorded | None:
        incarnation = self._incarnation(function_id)
        if incarnation is None:
            return None
        return await self._run(
            create_deployment,
            Deployment.absent(PROJECT, deployment_id),
            source=Artefact(key=f"sources/{PROJECT}/{deployment_id}/code", digest="b" * 64, size=7),
            project_id=PROJECT,
            function_id=function_id,
            function_incarnation=incarnation,
            deployment_id=deployment_id,
            type="manual",
            entrypoint="main.js",
            commands="",
            activate=activate,
            size=7,
        )

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
        """Ask for a run, at once or `after` seconds."""
        row = self._world.server.rows("functions").get(Function.stream(PROJECT, function_id))
        if row is None or not row["deployment_id"]:
            return None
        due = None if after is None else self._world.clocks.here() + timedelta(seconds=after)
        return await self._run(
            request_execution,
            Execution.absent(PROJECT, execution_id),
            project_id=PROJECT,
            function_id=function_id,
            function_incarnation=row["sequence"],
            function_version=row["version"],
            execution_id=execution_id,
            deployment_id=row["deployment_id"],
            trigger="schedule" if due else "http",
            request=Request(method="GET", path="/"),
            scheduled_at=due,
            retries=policy_from(row["policy"]).retries_of_calls,
        )

    async def run_now(self, function_id: str) -> Any:
        """Run while the caller waits."""
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
        facts = {"function_id": function_id, "incarnation": self._incarnation(function_id) or 0, "stale": False}
        return await self._run(delete_execution, Execution.key(PROJECT, execution_id), **facts)

    async def upload_chunk(self, function_id: str, deployment_id: str, chunk: Chunk, data: bytes) -> Any:
        """One chunk, as the route takes it."""
        parts = await self._parts()
        incarnation = self._incarnation(function_id)
        if incarnation is None:
            return None
        call: Any = SimulatedCall(self._world, parts)
        await uploads.keep_chunk(call, function_id, deployment_id, chunk, _pieces(data))
        upload = uploads.Upload(
            function_id=function_id,
            owner=deployment_queries.Owner(incarnation, "main.js", ""),
            deployment_id=deployment_id,
            type="manual",
            entrypoint="main.js",
            commands="",
            activate=True,
        )
        return await uploads.add_chunk(call, upload, chunk)

    def _incarnation(self, function_id: str) -> int | None:
        row = self._world.server.rows("functions").get(Function.stream(PROJECT, function_id))
        return None if row is None else int(row["sequence"])


async def _pieces(data: bytes) -> AsyncIterator[bytes]:
    for first in range(0, len(data), 2):
        yield data[first : first + 2]

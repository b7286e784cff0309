"""Health, limits and metrics: public, and without a project."""

import asyncio
import time

import msgspec

from annals.app.edge import operation
from annals.app.edge.answers import Answer, json_answer
from annals.app.edge.call import Call
from annals.app.edge.declared import Declared
from annals.app.executions.parameters import BODY_LIMIT
from annals.domain.ports import ExecutorUnavailable
from annals.domain.version import API_VERSION
from annals.store.errors import StoreUnavailable
from annals.store.postgres import sql

QUERIES = sql.load(__package__, "queries.sql")
TIMEOUT_SECONDS = 2.0
"""Seconds that an executor may take to answer."""

AWAY = "No executor can be reached."
STANDS_STILL = "It has stopped: `annals doctor` and the keeper's log say why."
"""All that the public answer says, since a follower's error may name the contents of a project."""


class HealthModel(msgspec.Struct):
    """`ping` is the time in milliseconds of a read from the database."""

    name: str
    ping: int
    status: str


class VersionModel(msgspec.Struct):
    version: str


class FollowerModel(msgspec.Struct):
    """The number of events that a follower has yet to read, and a sentence if it has stopped, otherwise an empty
    text."""

    name: str
    lag: int
    error: str


class ReadyModel(msgspec.Struct):
    """Whether the instance can work. `roles` counts the processes whose leases are renewed."""

    ready: bool
    log_writable: bool = msgspec.field(name="logWritable")
    executor: str = ""
    followers: list[FollowerModel] = []
    roles: dict[str, int] = {}


class LimitsModel(msgspec.Struct, rename="camel"):
    """The limits of this instance, in bytes, seconds and days as named. 0 stands for no limit."""

    functions_create_quota: int
    execution_retention_days: int
    upload_limit_bytes: int
    build_timeout_seconds: int
    build_output_limit_bytes: int
    function_timeout_max_seconds: int
    sync_wait_seconds: int
    execution_body_limit_characters: int
    enforcement: dict[str, dict[str, str]]


async def readiness(call: Call) -> ReadyModel:
    """Check all parts that the instance needs: a writable log, moving followers, workers and an executor."""
    database = call.services.database
    executor = await _executor(call)
    try:
        writable = bool(await database.value(QUERIES["writable"]))
        followers = [
            FollowerModel(row["name"], row["lag"], STANDS_STILL if row["stopped"] else "")
            for row in await database.rows(QUERIES["followers"])
        ]
        roles = {row["role"]: row["processes"] for row in await database.rows(QUERIES["roles"])}
    except StoreUnavailable:
        return ReadyModel(False, False, executor)
    ready = writable and executor == "" and "worker" in roles and not any(follower.error for follower in followers)
    return ReadyModel(ready, writable, executor, followers, roles)


async def enforcement(call: Call) -> dict[str, dict[str, str]]:
    """Return how each executor enforces each limit: `kernel`, `watchdog` or `none`. Unreachable hosts are left out."""
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            statuses = await call.services.executor.status()
    except (ExecutorUnavailable, TimeoutError):
        return {}
    return {status.host: status.limits for status in statuses.values() if not isinstance(status, str)}


async def _executor(call: Call) -> str:
    """Return why no executor can be reached, or an empty text if one can."""
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            statuses = await call.services.executor.status()
    except TimeoutError:
        return "No executor answered in time."
    except ExecutorUnavailable:
        return AWAY
    return AWAY if all(isinstance(status, str) for status in statuses.values()) else ""


class HealthController(operation.ResourceController):
    path = "/"
    opt = Declared(needs_project=False)

    @operation.get("/v1/health")
    async def health(self, call: Call) -> Answer:
        started = time.perf_counter()
        await call.services.database.value("SELECT 1")
        ping = round((time.perf_counter() - started) * 1000)
        return json_answer(HealthModel("http", ping, "pass"))

    @operation.get("/v1/health/version")
    async def version(self, _: Call) -> Answer:
        return json_answer(VersionModel(API_VERSION))

    @operation.get("/v1/health/ready")
    async def ready(self, call: Call) -> Answer:
        state = await readiness(call)
        return json_answer(state, status=200 if state.ready else 503)

    @operation.get("/v1/limits")
    async def limits(self, call: Call) -> Answer:
        settings = call.services.settings
        return json_answer(
            LimitsModel(
                functions_create_quota=settings.functions_create_quota,
                execution_retention_days=settings.execution_retention_days,
                upload_limit_bytes=settings.upload_limit_bytes,
                build_timeout_seconds=settings.build_timeout_s,
                build_output_limit_bytes=settings.build_output_limit_bytes,
                function_timeout_max_seconds=settings.function_timeout_max_s,
                sync_wait_seconds=settings.sync_wait_s,
                execution_body_limit_characters=BODY_LIMIT,
                enforcement=await enforcement(call),
            )
        )

    @operation.get("/metrics")
    async def metrics(self, call: Call) -> Answer:
        text = (call.services.metrics.text() + await call.services.conservation()).encode()
        return Answer(200, text, [(b"content-type", b"text/plain; version=0.0.4; charset=utf-8")])

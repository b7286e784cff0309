"""Prewarming: instances that are ready before a call, as many as a policy says, and one before a schedule is due.

The keeper sends job messages at an interval, and each prolongs the time that the executor keeps the instances. So
prewarming ends by itself, and a new deployment or environment is warm soon.
"""

import asyncio

import structlog

from annals.application.executions.context import Environments
from annals.application.executions.prepare import Invocation, build_run
from annals.domain.errors import FunctionNotFound, FunctionRuntimeUnsupported
from annals.domain.ports import Executor
from annals.store.errors import StoreError, StoreUnavailable
from annals.store.postgres import sql
from annals.store.postgres.database import Database
from annals.workers.job_messages import UNKNOWN, WARM_FUNCTION, Cause, JobMessage
from annals.workers.redelivery import Queue

QUERIES = sql.load(__package__, "prewarming.sql")

LOOK_SECONDS = 5.0
"""How often the keeper asks for warm instances."""

_KEPT_SECONDS = 4 * LOOK_SECONDS
_AHEAD_SECONDS = 2 * LOOK_SECONDS

log = structlog.get_logger(__name__)


class PrewarmingSweep:
    """Asks for warm instances, in the keeper."""

    def __init__(self, database: Database, queue: Queue) -> None:
        self._database = database
        self._queue = queue

    async def sweep(self) -> int:
        """Ask for warm instances, and return of how many functions. Raises QueueUnavailable."""
        rows = await self._database.rows(QUERIES["all_wanted"], {"ahead": _AHEAD_SECONDS})
        if rows:
            await asyncio.to_thread(self._queue.wake, [JobMessage(WARM_FUNCTION, row["stream_id"]) for row in rows])
        return len(rows)


class Prewarming:
    """Starts warm instances, in a worker."""

    def __init__(
        self, database: Database, environments: Environments, executor: Executor, *, start_seconds: float
    ) -> None:
        self._database = database
        self._environments = environments
        self._executor = executor
        self._start_seconds = start_seconds

    async def warm(self, stream: str, _cause: Cause = UNKNOWN) -> None:
        """Start the warm instances of a function's policy. Raises ExecutorUnavailable, StoreUnavailable."""
        row = await self._database.row(QUERIES["wanted"], {"stream": stream, "ahead": _AHEAD_SECONDS})
        context = await self._environments.active(row["project_id"], row["function_id"]) if row is not None else None
        if row is None or context is None or context.deployment is None or context.deployment.status != "ready":
            return
        try:
            prepared = await self._environments.of(context)
        except (FunctionNotFound, FunctionRuntimeUnsupported):
            return
        except StoreUnavailable:
            raise
        except StoreError as error:
            log.warning("function_not_warmed", function=stream, error=str(error))
            return
        run = build_run(prepared, _NO_CALL, start_seconds=self._start_seconds)
        ready = await self._executor.prewarm(run, row["instances"], _KEPT_SECONDS)
        log.debug("function_warmed", function=stream, instances=ready)


_NO_CALL = Invocation(
    execution_id="", epoch=0, trigger="schedule", method="POST", path="/", headers={}, body=b"", key=""
)  # fmt: skip
"""The executor's request needs a call; a warm instance is started without one."""

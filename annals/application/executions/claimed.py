"""Prepare a claimed execution: read its function and its input, and build the executor's request, or say why not.

Many executions are claimed at the same time, so their reads are sent as one.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, NamedTuple, TypeVar

from annals.application.executions.context import ACTIVE, Context, Environments, Prepared, context_from
from annals.application.executions.prepare import Preparation, ready_deployment
from annals.domain.base import Key
from annals.domain.errors import BuildNotReady, DeploymentNotFound, FunctionNotFound, FunctionRuntimeUnsupported
from annals.domain.execution import Execution
from annals.domain.ports import Reason, Run
from annals.store.content.contents import Contents, newest
from annals.store.content.inputs import KIND, NOTHING, Input, open_input
from annals.store.coordination.retry import retry
from annals.store.errors import ContentMissing, StoreError, VariableUnreadable
from annals.store.log.log import EventLog
from annals.store.postgres.database import Row
from annals.store.secrets.vault import Vault

QUEUE_SECONDS = 45.0
"""How long a claimed run may wait for a free instance on a host: synchronous calls may use all of them."""

FUNCTION_GONE = "The function, or the deployment that was asked for, was deleted before this execution ran."
NO_DEPLOYMENT = "The function has no active deployment. Activate one and run it again."
NOT_READY = "The build of the deployment is not ready. Run it again when it is."

K = TypeVar("K")
R = TypeVar("R")


class BatchedRead(Generic[K, R]):
    """Collects the keys that tasks ask for while a read is on its way, and reads them together.

    `fetch` returns the answers in the order of its keys. After a failed read of several keys, each is read alone.
    """

    def __init__(self, fetch: Callable[[Sequence[K]], Awaitable[Sequence[R]]], *, most: int = 100) -> None:
        self._fetch = fetch
        self._most = most
        self._waiting: list[tuple[K, asyncio.Future[R]]] = []
        self._fetching: asyncio.Task[None] | None = None

    async def __call__(self, key: K) -> R:
        """Return the answer to one key. Raises as `fetch` does."""
        answer: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((key, answer))
        if self._fetching is None or self._fetching.done():
            self._fetching = asyncio.create_task(self._fetch_all())
        return await answer

    async def _fetch_all(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
            await self._answer([(key, answer) for key, answer in batch if not answer.done()])

    async def _answer(self, batch: list[tuple[K, asyncio.Future[R]]]) -> None:
        if not batch:
            return
        try:
            found = await self._fetch([key for key, _ in batch])
        except Exception as error:
            if len(batch) == 1:
                _fail(batch[0][1], error)
            else:
                for pair in batch:
                    await self._answer([pair])
            return
        for (_, answer), value in zip(batch, found, strict=True):
            if not answer.done():
                answer.set_result(value)


def _fail(answer: "asyncio.Future[R]", error: Exception) -> None:
    if not answer.done():
        answer.set_exception(error)


class CannotRun(Exception):
    """A run cannot begin: `reason` and the sentence are recorded."""

    def __init__(self, reason: Reason, sentence: str) -> None:
        super().__init__(sentence)
        self.reason: Reason = reason


class Need(NamedTuple):
    """The function whose active deployment runs, and the stream of the input; each may be empty."""

    project_id: str
    function_id: str
    stream: str


class Needed(NamedTuple):
    """The rows of a need: the function's context, and the row of the input's content."""

    context: Context | None = None
    content: Row | None = None


class ExecutionReads:
    """Reads for the executions of one process, batched. Raises as the store's reads do."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self.execution = BatchedRead(self._executions)
        self.needed = BatchedRead(self._needed)

    async def _executions(self, keys: Sequence[Key]) -> list[Execution | None]:
        """Return the executions, None for those that do not exist."""
        found = await self._log.reader.aggregates(keys)
        return [x if isinstance(x, Execution) and not x.deleted else None for x in found]

    async def _needed(self, needs: Sequence[Need]) -> list[Needed]:
        """Read all needs in one pipeline, and each function once for all of its executions."""
        functions = sorted({(need.project_id, need.function_id) for need in needs if need.function_id})
        streams = [need.stream for need in needs if need.stream]
        active = (ACTIVE, ([project for project, _ in functions], [function for _, function in functions]))
        contexts, contents = await self._log.database.run_pipeline([active, newest(streams, KIND)])
        context = {functions[row["ord"] - 1]: context_from(row) for row in contexts}
        content = {row["stream"]: row for row in contents}
        return [Needed(context.get((need.project_id, need.function_id)), content.get(need.stream)) for need in needs]


class ClaimPreparation:
    """Prepares claimed executions, and waits for Postgres as long as that takes."""

    def __init__(
        self,
        reads: ExecutionReads,
        contents: Contents,
        vault: Vault,
        environments: Environments,
        *,
        start_seconds: float,
    ) -> None:
        self._reads = reads
        self._contents = contents
        self._vault = vault
        self._environments = environments
        self._preparation = Preparation(environments, vault, start_seconds=start_seconds)

    async def prepare(self, execution: Execution, sealed: bytes = b"") -> tuple[Prepared, Run] | CannotRun:
        """Return the environment and the executor's request; the input is read unless it comes `sealed`."""
        try:
            needed = await self._needed(execution, sealed)
            prepared = await self._prepared(execution, needed.context)
            return prepared, await self._build(prepared, execution, sealed or needed.content)
        except CannotRun as error:
            return error

    async def _needed(self, execution: Execution, sealed: bytes) -> Needed:
        function_id = "" if execution.pinned else execution.function_id
        stream = "" if sealed or not execution.request.input_size else execution.id
        if not (function_id or stream):
            return Needed()
        return await retry(lambda: self._reads.needed(Need(execution.project_id, function_id, stream)))

    async def _prepared(self, execution: Execution, active: Context | None) -> Prepared:
        """Return the environment of the deployment that answers now (http-api.md 8.3), or of the pinned one."""
        context = await retry(lambda: self._context(execution, active))
        if context is None or context.incarnation != execution.function_incarnation:
            raise CannotRun("deployment_missing", FUNCTION_GONE)
        try:
            ready_deployment(context)
        except DeploymentNotFound:
            raise CannotRun("deployment_missing", NO_DEPLOYMENT) from None
        except BuildNotReady:
            raise CannotRun("build_not_ready", NOT_READY) from None
        try:
            return await retry(lambda: self._environments.of(context))
        except FunctionNotFound:
            raise CannotRun("deployment_missing", FUNCTION_GONE) from None
        except FunctionRuntimeUnsupported as error:
            raise CannotRun("runtime_unavailable", str(error)) from None
        except VariableUnreadable as error:
            raise CannotRun("variable_unreadable", str(error)) from None
        except StoreError as error:
            raise CannotRun("error", f"The function's variables cannot be opened: {error}") from error

    async def _context(self, execution: Execution, active: Context | None) -> Context | None:
        if execution.pinned:
            return await self._environments.of_deployment(execution.project_id, execution.deployment_id)
        if active is None:
            return None
        return await self._environments.routed(active, execution.execution_id, former=execution.routed_to)

    async def _build(self, prepared: Prepared, execution: Execution, stored: bytes | Row | None) -> Run:
        try:
            call_input = await retry(lambda: self._input(execution, stored))
            return await retry(
                lambda: self._preparation.build(prepared, execution, call_input, queue_seconds=QUEUE_SECONDS)
            )
        except StoreError as error:
            raise CannotRun("error", f"What this execution was given cannot be read: {error}") from error

    async def _input(self, execution: Execution, stored: bytes | Row | None) -> Input:
        if not execution.request.input_size:
            return NOTHING
        if stored is None:
            raise ContentMissing
        sealed = stored if isinstance(stored, bytes) else await self._contents.opened(stored, execution.id, KIND)
        return await open_input(self._vault, execution.project_id, execution.id, sealed)

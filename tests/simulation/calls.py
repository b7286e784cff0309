"""A simulated request: the part of a request that the code behind the routes reads."""

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from annals.app.deployments import queries as deployment_queries
from annals.app.edge import negotiation
from annals.app.executions import queries as execution_queries
from annals.app.identity.caller import Caller
from annals.app.reads import Lookup, ReadResult
from annals.application.executions.record_outcome import DeferredOutcomes
from annals.store.ids import generate_id
from annals.store.log.log import EventLog, Meta, Recorded
from tests.simulation.nodes import START_SECONDS, Parts
from tests.simulation.transactions import Row, Tx, on

if TYPE_CHECKING:
    from tests.simulation.world import World

PROJECT = "p"
META = Meta(actor="key:k1", request="r1", correlation="r1")
SYNC_SECONDS = 6


@on(execution_queries.ONE.sql)
def _one_execution(tx: Tx, p: Any) -> list[Row]:
    row = tx.get("executions", f"execution:{p[0][0]}:{p[1][0]}")
    output = dict.fromkeys(("logs_data", "logs_place", "errors_data", "errors_place"))
    return [] if row is None else [{**row, **output, "stale": False}]


@on(deployment_queries.ONE.sql)
def _one_deployment(tx: Tx, p: Any) -> list[Row]:
    row = tx.get("deployments", f"deployment:{p[0][0]}:{p[1][0]}")
    return [] if row is None else [{**row, "log_data": None, "log_place": None, "log_pieces": ""}]


class _Settings:
    start_timeout_s = START_SECONDS
    sync_wait_s = SYNC_SECONDS
    upload_limit_bytes = 10**9


class RecordingLog:
    """A log that remembers its last answer, since routes answer with rows."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self.last_answer: Recorded | None = None

    async def run(self, *words: Any, **recorded_events: Any) -> Recorded:
        self.last_answer = await self._log.run(*words, **recorded_events)
        return self.last_answer


class _Services:
    """The services of an API process that synchronous executions and uploads need."""

    def __init__(self, world: "World", parts: Parts) -> None:
        self._world, self._parts = world, parts
        self.log, self.blobs, self.environments = parts.log, world.blobs, parts.environments
        self.executor, self.settings = world.executor, _Settings()
        self.reads = self.call_limiter = self
        self.concurrency_slots, self.fair_queue = parts.concurrency_slots, parts.fair_queue
        self.deferred = DeferredOutcomes()
        self.vault = parts.vault

    def admitted(self, *_: object) -> AbstractContextManager[None]:
        """Admit every request."""
        return nullcontext()

    def holder(self) -> str:
        return self._parts.process_lease.id

    def now(self) -> Any:
        return self._world.clocks.here()

    async def signing_secret(self, project: str) -> bytes:
        return b"k" * 32

    async def look_up(self, lookup: Lookup, *key: str) -> ReadResult:
        rows = await self._parts.database.rows(lookup.sql, [[part] for part in key])
        return ReadResult(rows, 0)


class SimulatedCall:
    """The part of a request that the code behind the routes reads."""

    def __init__(self, world: "World", parts: Parts) -> None:
        self.services = _Services(world, parts)
        self.project_id = PROJECT
        self.request_id, self.reserved_id = "r1", ""
        self.permit = None
        self.address = ""
        self.values: dict[str, Any] = {"method": "GET", "path": "/", "headers": {}, "body": b""}
        self.api_version = negotiation.negotiate("")

    async def caller(self) -> Caller:
        return Caller(word="applications", scopes=frozenset(), actor="key:k1")

    async def meta(self) -> Meta:
        return META

    def new_id(self) -> str:
        return generate_id()

    def seen(self, position: int) -> None:
        return

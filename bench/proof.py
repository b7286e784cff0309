"""Sealing and verifying the log; the floor is a plain read of the same rows. Also the bytes of an execution."""

import asyncio
import secrets
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import uvloop
from psycopg.conninfo import make_conninfo
from psycopg.rows import tuple_row

from annals.application.event_log import inline
from annals.domain.execution import CallRequest, Execution, Header, RunRecord
from annals.projections.inline import CONSTRAINT_ERRORS
from annals.store.content.blobs import Blobs
from annals.store.content.contents import Contents
from annals.store.ids import generate_id
from annals.store.log.archives import Archiver, Archives
from annals.store.log.follower import Follower
from annals.store.log.log import EventLog, Meta
from annals.store.postgres.database import Database
from annals.store.postgres.listener import Listener
from annals.store.postgres.migrate import migrate
from annals.store.proof.destinations import Destinations
from annals.store.proof.notes import signing_key
from annals.store.proof.proofs import Nodes
from annals.store.proof.sealing import FOLLOWER, Sealer, seal
from annals.store.proof.sources import PAGE
from annals.store.proof.verification import Verification
from annals.store.tree.tiles import QUERIES
from bench.results import Figure

DATABASE = "annals_bench_proof"
EXECUTIONS, COPIES = 2000, 50
_COPY = (
    "INSERT INTO events (originator_id, originator_version, topic, state, recorded_at)"
    " SELECT 'execution:bench:' || substr(md5(c || originator_id), 1, 20), originator_version, topic,"
    " state, recorded_at FROM events, generate_series(1, %s) AS c WHERE topic LIKE 'execution.%%'"
    " ORDER BY c, notification_id"
)


def figures(database_url: str) -> list[Figure]:
    """Measure a separate log of synchronous executions as an instance records them, and of many copies."""
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
        conn.execute(f"CREATE DATABASE {DATABASE}")
        try:
            url = make_conninfo(database_url, dbname=DATABASE)
            migrate(url)
            with tempfile.TemporaryDirectory(prefix="annals-bench-") as folder:
                return uvloop.run(_figures(url, Path(folder)))
        finally:
            conn.execute(f"DROP DATABASE {DATABASE} WITH (FORCE)")


async def _figures(url: str, folder: Path) -> list[Figure]:
    database = await Database.open(url)
    contents = Contents(database, Blobs.open(folder / "blobs"))
    log = await EventLog.open(database, contents=contents, inline=inline, constraint_errors=CONSTRAINT_ERRORS)
    try:
        bench = _Bench(log, folder)
        await bench.execute()
        hot = await bench.hot_bytes()
        await database.execute(_COPY, (COPIES,))
        await database.execute("ANALYZE events")
        floor = await _median(bench.read)
        sealed = await bench.seal()
        whole, recent = await _median(bench.verify), await bench.verify_recent()
        archived = await bench.archived_bytes()
    finally:
        await log.close()
        await database.close()
    note = "floor: the rows read, not hashed"
    return [
        Figure(name="proof: seal", value=sealed, unit="events/s", floor=floor, note=note),
        Figure(
            name="proof: verify the whole log", value=whole, unit="events/s", floor=floor, target=150_000, note=note
        ),
        Figure(name="proof: verify since the checkpoint", value=recent, unit="ms"),
        Figure(name="an execution in the hot log", value=hot, unit="bytes", target=1200, note="with indexes and seal"),
        Figure(name="an execution in the archive", value=archived, unit="bytes", target=150),
    ]


class _Bench:
    def __init__(self, log: EventLog, folder: Path) -> None:
        self._log, self._database, self._blobs = log, log.database, log.contents.blobs
        self._signer = signing_key(folder / "seal.key")
        self._destinations = Destinations(self._blobs)
        self._archives = Archives(self._database, self._blobs)
        nodes = Nodes(self._database, self._archives.leaf_hashes)
        self._sealer = Sealer(self._database, nodes, self._signer, self._destinations)

    async def execute(self) -> None:
        """Record synchronous calls of two events each, with ids and metadata as the API writes them."""
        for start in range(0, EXECUTIONS, 100):
            await asyncio.gather(*(_execute(self._log, number) for number in range(start, start + 100)))

    async def hot_bytes(self) -> float:
        await self.seal()
        tables = "pg_total_relation_size('events') + pg_total_relation_size('seal_tiles')"
        await self._database.execute("VACUUM FULL seal_tiles")
        return float(await self._database.value(f"SELECT {tables} AS bytes")) / EXECUTIONS

    async def seal(self) -> float:
        follower = Follower(FOLLOWER, seal, self._log.reader, Listener(self._database))
        began, events = time.perf_counter(), 0
        while done := await follower.catch_up():
            events += done
        rate = events / (time.perf_counter() - began)
        await self._sealer.sign()
        return rate

    async def read(self) -> float:
        began, events, after = time.perf_counter(), 0, 0
        conn = await self._database.connect("bench")
        async with conn, conn.cursor(row_factory=tuple_row, binary=True) as cursor:
            while rows := await (await cursor.execute(QUERIES["leaves_of_log"], (after, PAGE))).fetchall():
                events, after = events + len(rows), rows[-1][0]
        return events / (time.perf_counter() - began)

    async def verify(self) -> float:
        verdict = await Verification(self._database, self._archives, self._signer.verifier, self._destinations).run()
        if not verdict.ok:
            raise RuntimeError(f"the log of the benchmark differs from its seal: {verdict.faults[:3]}")
        return verdict.events / verdict.seconds

    async def verify_recent(self) -> float:
        verification = Verification(self._database, self._archives, self._signer.verifier, self._destinations)
        return (await verification.run(since_checkpoint=True)).seconds * 1000

    async def archived_bytes(self) -> float:
        """Return the bytes of archived segments and stream hashes per execution of two events."""
        await self._database.execute("TRUNCATE executions")  # as if retention had swept them
        segments = await Archiver(self._database, self._blobs).run(datetime.now(UTC) + timedelta(days=1))
        size = sum([info.size async for info in self._blobs.list("archive")])
        return 2 * size / sum(segment.end_leaf - segment.first_leaf for segment in segments)


async def _median(count: Callable[[], Awaitable[float]]) -> float:
    return statistics.median([await count() for _ in range(3)])


async def _execute(log: EventLog, number: int) -> None:
    request = generate_id()
    meta = Meta(actor=f"key:{'a1' * 10}", request=request, correlation=request, address="203.0.113.7")
    execution_id = generate_id()
    requested = await log.run(
        Execution.request_run,
        Execution.absent("bench", execution_id),
        meta=meta,
        project_id="bench",
        function_id="orders",
        function_incarnation=3,
        function_version=7,
        execution_id=execution_id,
        deployment_id="b2" * 10,
        trigger="http",
        request=CallRequest(method="POST", path=f"/orders/{number}"),
        worker="api-c3c3c3c3",
    )
    (execution,) = requested.aggregates
    if not isinstance(execution, Execution):
        raise TypeError(f"{type(execution).__name__} is no execution")
    ran = RunRecord(
        deployment_id="b2" * 10,
        function_version=7,
        environment_digest=secrets.token_hex(16),
        specification="s-1vcpu-512mb",
        host="host-1",
        run_ms=12 + number % 50,
    )
    headers = [Header("content-type", "application/json")]
    execution.complete(1, status_code=200, headers=headers, ran=ran)
    await log.record([execution], meta=meta)

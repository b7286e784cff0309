"""Commits that wait for a synchronous standby: acknowledgements, reads and notifications meanwhile."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from itertools import count

import psycopg
import pytest

from annals.store.coordination.leases import Leases
from annals.store.errors import StandbyAway, StoreUnavailable, StreamConflict
from annals.store.log import append_modes, group_append
from annals.store.log.append_modes import Classify, Outcome
from annals.store.log.group_append import GroupAppender
from annals.store.log.request import Appended, AppendRequest
from annals.store.postgres import standby
from annals.store.postgres.connection import Connection, ReplicationUnknown
from annals.store.postgres.database import Database
from annals.store.postgres.migrate import migrate
from tests.integration.postgres import Replicated
from tests.integration.store.conftest import META, OpenLog
from tests.integration.store.ledger import absent, deposit, key, open_account
from tests.integration.store.test_group_append import all_events, event, request

_NUMBERS = count(1)
_WAITS = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
CANCEL = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
TERMINATE = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"


@pytest.fixture(scope="module")
def pair() -> Iterator[Replicated]:
    server = Replicated()
    try:
        server.execute("CREATE DATABASE migrated")
        migrate(server.url("migrated"))
        server.replicate()
        yield server
    finally:
        server.close()


@pytest.fixture
def database_url(pair: Replicated) -> Iterator[str]:
    """A migrated database of the test's own, on a primary whose standby follows when the test begins."""
    name = f"standby_{next(_NUMBERS)}"
    pair.execute(f"CREATE DATABASE {name} TEMPLATE migrated")
    yield pair.url(name)
    pair.standby.start()
    pair.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def appender(database: Database) -> AsyncIterator[GroupAppender]:
    appender = GroupAppender(database, retry_seconds=60.0)
    try:
        yield appender
    finally:
        await appender.close()


@pytest.fixture
def blind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Disable the detection of a missing standby, as in the moments before it is noticed."""
    monkeypatch.setattr(standby, "LOOK_SECONDS", 3600.0)


async def appended_in_the_end(appender: GroupAppender, wanted: AppendRequest) -> Appended:
    async with asyncio.timeout(120):
        while True:
            try:
                return await appender.append(wanted)
            except StoreUnavailable:
                await asyncio.sleep(0.05)


async def value_in_the_end(database: Database, query: str) -> object:
    async with asyncio.timeout(120):
        while True:
            try:
                return await database.value(query)
            except StoreUnavailable:
                await asyncio.sleep(0.05)


@pytest.mark.usefixtures("blind")
@pytest.mark.parametrize("end", [CANCEL, TERMINATE])
@pytest.mark.parametrize("kind", ["trip", "execute", "transaction"])
async def test_commit_whose_wait_was_ended_is_an_error_on_every_path(
    database: Database, pair: Replicated, kind: str, end: str
) -> None:
    conn = await database.connect("commits")
    step = ("INSERT INTO holds (name, reason) VALUES ('h', 'r')", ())

    async def commit() -> None:
        if kind == "trip":
            await conn.run_pipeline([step])
        elif kind == "execute":
            await conn.execute(*step)
        else:
            async with conn.transaction():
                await conn.execute(*step)

    pair.standby.stop()
    commits = asyncio.create_task(commit())
    await asyncio.to_thread(pair.waiting)
    pair.execute(end)

    with pytest.raises(psycopg.OperationalError) as raised:
        await commits
    assert conn.closed
    if end == CANCEL:
        assert isinstance(raised.value, ReplicationUnknown)
    assert await database.value("SELECT count(*) FROM holds") == 1  # the premise: it is there, and here alone


@pytest.mark.usefixtures("blind")
@pytest.mark.parametrize("end", [CANCEL, TERMINATE])
async def test_append_found_again_is_acknowledged_only_once_the_standby_has_it(
    appender: GroupAppender, database: Database, pair: Replicated, end: str
) -> None:
    await appender.append(request(event("before:p")))
    pair.standby.stop()
    append = asyncio.create_task(appender.append(request(event("a:p"))))
    await asyncio.to_thread(pair.waiting)

    pair.execute(end)
    async with asyncio.timeout(60):
        while not await database.value("SELECT count(*) FROM events WHERE originator_id = 'a:p'"):
            await asyncio.sleep(0.01)
    await asyncio.to_thread(pair.waiting)  # the barrier does: the event is visible, and its caller not answered

    assert not append.done()
    pair.standby.start()
    async with asyncio.timeout(120):
        assert isinstance(await append, Appended)
    assert await all_events(database) == [("before:p", 1), ("a:p", 1)]


@pytest.mark.usefixtures("blind")
async def test_append_that_committed_after_the_reconnect_waits_for_a_barrier_of_its_own(
    appender: GroupAppender, pair: Replicated, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An abandoned session may commit after the new connection's barrier, and its events are found after that."""
    monkeypatch.setattr(group_append, "BATCH_SECONDS", 120.0)  # on a busy machine the standby takes long to stop
    real, real_stored = append_modes.MODES["together"], append_modes.stored

    async def answer_lost(conn: Connection, requests: Sequence[AppendRequest], classify: Classify) -> list[Outcome]:
        monkeypatch.setitem(append_modes.MODES, "together", real)
        await real.append(conn, requests, classify)
        await conn.close()
        raise psycopg.OperationalError("the connection broke after the commit")

    async def found_and_standby_gone(conn: Connection, wanted: AppendRequest) -> Appended | None:
        found = await real_stored(conn, wanted)
        await asyncio.to_thread(pair.standby.stop)
        return found

    monkeypatch.setitem(append_modes.MODES, "together", real._replace(append=answer_lost))
    monkeypatch.setattr(append_modes, "stored", found_and_standby_gone)
    append = asyncio.create_task(appender.append(request(event("a:p"))))
    await asyncio.to_thread(pair.waiting)

    assert not append.done()
    pair.standby.start()
    async with asyncio.timeout(120):
        assert isinstance(await append, Appended)


async def test_appends_are_refused_at_once_while_the_standby_is_away_and_reads_go_on(
    appender: GroupAppender, database: Database, database_url: str, pair: Replicated
) -> None:
    elsewhere = await Database.open(database_url, retry_seconds=30.0)
    other = GroupAppender(elsewhere, retry_seconds=30.0)
    await asyncio.gather(appender.append(request(event("a:p"))), other.append(request(event("b:p"))))
    pair.standby.stop()

    async with asyncio.timeout(120):
        with pytest.raises(StandbyAway):
            await appender.append(request(event("c:p")))
        with pytest.raises(StandbyAway):  # another process learns it by its own append, which waits for the lock
            await other.append(request(event("d:p")))
        for number in range(50):
            with pytest.raises(StandbyAway):
                await appender.append(request(event(f"s:p:{number}")))

    assert await database.value(_WAITS) == 1  # one session waits, however many were refused
    assert [stream for stream, _ in await all_events(database)] in (["a:p", "b:p"], ["b:p", "a:p"])
    pair.standby.start()
    await appended_in_the_end(appender, request(event("after:p")))
    await appended_in_the_end(other, request(event("later:p")))
    with pytest.raises(StreamConflict):  # what waited was recorded all along, once
        await appender.append(request(event("c:p", state=b'{"another":1}')))
    await other.close()
    await elsewhere.close()


async def test_appender_closes_while_its_batch_waits_for_a_missing_standby(
    database: Database, pair: Replicated
) -> None:
    appender = GroupAppender(database, retry_seconds=60.0)
    pair.standby.stop()
    with pytest.raises(StandbyAway):
        await appender.append(request(event("a:p")))

    async with asyncio.timeout(120):
        await appender.close()

    with pytest.raises(StoreUnavailable):
        await appender.append(request(event("b:p")))


async def test_answer_to_an_unchanged_write_waits_for_the_standby(open_log: OpenLog, pair: Replicated) -> None:
    async with open_log() as log:
        await log.run(open_account, absent("a"), meta=META, account="a")
        pair.standby.stop()
        with pytest.raises(StandbyAway):
            await log.run(deposit, key("a"), meta=META, amount=1)
        pair.execute(CANCEL)  # it is recorded here, and shown
        async with asyncio.timeout(60):
            while (await log.load(key("a"))).balance != 1 or log.database.standby.away:
                await asyncio.sleep(0.01)

        log.database.retry_seconds = 1.0
        for _ in range(3):
            with pytest.raises(StoreUnavailable):
                await log.run(deposit, key("a"), meta=META, amount=0)  # which changes nothing
        pair.standby.start()
        async with asyncio.timeout(120):
            while True:
                try:
                    assert not (await log.run(deposit, key("a"), meta=META, amount=0)).events
                    break
                except StoreUnavailable:
                    await asyncio.sleep(0.05)


async def test_writes_beside_the_log_do_not_wait_for_a_standby_that_is_away(
    database: Database, pair: Replicated
) -> None:
    pair.standby.stop()

    writes = [database.execute("INSERT INTO holds (name, reason) VALUES (%s, '')", (str(n),)) for n in range(20)]
    async with asyncio.timeout(120):
        refused = await asyncio.gather(*writes, return_exceptions=True)

    assert all(isinstance(one, StoreUnavailable) for one in refused)
    assert await database.value("SELECT 1") == 1
    assert await database.value(_WAITS) == 0
    leases = Leases(database)
    assert [await leases.beat("h", "api"), await leases.beat("h", "api")] == [1, 2]  # no process is lost for it


async def _restart(pair: Replicated) -> None:
    pair.crash()
    pair.start()


async def _crash_of_a_backend(pair: Replicated) -> None:
    """The postmaster stays alive, and recovers as after a crash."""
    with psycopg.connect(pair.url(), autocommit=True) as conn:
        found = conn.execute("SELECT pid FROM pg_stat_activity WHERE backend_type = 'walwriter'").fetchone()
    assert found is not None
    os.kill(found[0], signal.SIGKILL)


@pytest.mark.parametrize("crash", [_restart, _crash_of_a_backend])
async def test_crashed_primary_shows_nothing_that_no_standby_has(
    database_url: str, pair: Replicated, crash: Callable[[Replicated], Awaitable[None]]
) -> None:
    database = await Database.open(database_url, retry_seconds=2.0)
    appender = GroupAppender(database, retry_seconds=2.0)
    await appender.append(request(event("before:p")))
    pair.standby.stop()
    with pytest.raises(StandbyAway):
        await appender.append(request(event("a:p")))

    await crash(pair)

    hasty = await Database.open(database_url, retry_seconds=2.0, awaits_standby=False)
    assert await value_in_the_end(hasty, "SELECT count(*) FROM events") == 2  # the premise: the server shows it
    with pytest.raises(StoreUnavailable):
        await database.value("SELECT count(*) FROM events")
    with pytest.raises(StoreUnavailable):
        await (await Database.open(database_url, retry_seconds=2.0)).close()
    pair.standby.start()
    assert await value_in_the_end(database, "SELECT count(*) FROM events") == 2
    await hasty.close()
    await appender.close()
    await database.close()

"""The group appender: requests that share a transaction, requests that fail alone, and broken connections."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import psycopg
import pytest
from eventsourcing.persistence import StoredEvent

from annals.store.errors import AnswerLost, StoreUnavailable, StreamConflict
from annals.store.log import append_modes
from annals.store.log.append_modes import Classify, Outcome
from annals.store.log.group_append import GroupAppender, session_limits
from annals.store.log.request import Appended, AppendRequest, Statement
from annals.store.postgres.database import Connection, Database
from tests.integration.postgres import Postgres


def event(stream: str, version: int = 1, state: bytes = b"{}") -> StoredEvent:
    return StoredEvent(stream, version, "test.happened", state)


def request(*events: StoredEvent, statements: Sequence[Statement] = ()) -> AppendRequest:
    return AppendRequest(events, statements)


SLEEP = Statement("SELECT pg_sleep(0.3)", {})
WRONG = Statement("SELECT 1 / %(zero)s::int", {"zero": 0})


@pytest.fixture
async def appender(database: Database) -> AsyncIterator[GroupAppender]:
    appender = GroupAppender(database, retry_seconds=30.0)
    try:
        yield appender
    finally:
        await appender.close()


async def all_events(database: Database) -> list[tuple[str, int]]:
    rows = await database.rows("SELECT originator_id, originator_version FROM events ORDER BY notification_id")
    return [(row["originator_id"], row["originator_version"]) for row in rows]


async def under_way(appender: GroupAppender, slow: AppendRequest) -> "asyncio.Task[Appended]":
    """Submit a request that sleeps in Postgres, and wait until its batch has started."""
    task = asyncio.create_task(appender.append(slow))
    query = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%%' AND state = 'active'"
    async with asyncio.timeout(60):
        while not task.done() and not await appender._database.value(query):
            await asyncio.sleep(0.01)
    return task


async def outcomes(appender: GroupAppender, *requests: AppendRequest) -> list[Appended | BaseException]:
    """Submit requests behind a slow one, so that they form one batch."""
    slow = await under_way(appender, request(event("slow:p"), statements=[SLEEP]))
    answers = await asyncio.gather(*(appender.append(one) for one in requests), return_exceptions=True)
    await slow
    return answers


async def test_callers_that_wait_together_share_one_transaction(appender: GroupAppender, database: Database) -> None:
    answers = await outcomes(appender, *(request(event(f"s:p:{i}")) for i in range(10)))

    transactions = await database.value("SELECT count(DISTINCT xmin::text) FROM events")
    assert transactions == 2  # the slow one's, and theirs
    positions = [answer.positions[0] for answer in answers if isinstance(answer, Appended)]
    assert positions == sorted(positions)
    assert len(positions) == 10


async def test_conflicts_fail_alone_and_their_neighbours_commit(appender: GroupAppender, database: Database) -> None:
    await appender.append(request(event("s:p:1")))

    answers = await outcomes(
        appender, request(event("s:p:0")), request(event("s:p:1", state=b"late")), request(event("s:p:2"))
    )

    assert [type(answer) for answer in answers] == [Appended, StreamConflict, Appended]
    assert await all_events(database) == [("s:p:1", 1), ("slow:p", 1), ("s:p:0", 1), ("s:p:2", 1)]


async def test_request_of_which_one_event_collides_leaves_none(appender: GroupAppender, database: Database) -> None:
    await appender.append(request(event("s:p:1")))

    answers = await outcomes(
        appender, request(event("a:p"), event("s:p:1"), event("b:p")), request(event("c:p"), event("d:p"))
    )

    assert [type(answer) for answer in answers] == [StreamConflict, Appended]
    assert [stream for stream, _ in await all_events(database)] == ["s:p:1", "slow:p", "c:p", "d:p"]


async def test_statement_that_fails_fails_its_request_alone(appender: GroupAppender, database: Database) -> None:
    answers = await outcomes(
        appender,
        request(event("a:p")),
        request(event("b:p"), statements=[WRONG]),
        request(event("slow:p")),  # a conflict in the same batch
        request(event("c:p"), statements=[Statement("SELECT %(absent)s", {})]),
        request(event("d:p"), statements=[Statement("SELECT 7 AS n", {}, "numbers")]),
    )

    assert isinstance(answers[1], psycopg.errors.DivisionByZero)
    assert isinstance(answers[2], StreamConflict)
    assert isinstance(answers[3], psycopg.ProgrammingError)
    assert isinstance(answers[4], Appended)
    assert answers[4].rows == {"numbers": [{"n": 7}]}
    assert [stream for stream, _ in await all_events(database)] == ["slow:p", "a:p", "d:p"]


async def test_two_requests_for_one_stream_never_share_a_batch(appender: GroupAppender, database: Database) -> None:
    answers = await outcomes(appender, request(event("s:p")), request(event("s:p", 2)), request(event("s:p", 2)))

    assert [type(answer) for answer in answers] == [Appended, Appended, StreamConflict]
    assert await all_events(database) == [("slow:p", 1), ("s:p", 1), ("s:p", 2)]


async def test_recorded_times_never_decrease_with_positions_when_the_clock_does(
    appender: GroupAppender, database: Database
) -> None:
    await database.execute(
        "INSERT INTO events (originator_id, originator_version, topic, state, recorded_at)"
        " VALUES ('ahead:p', 1, 't', '', date_trunc('milliseconds', now() + interval '1 hour'))"
    )

    first = await appender.append(request(event("a:p")))
    second = await appender.append(request(event("b:p")))

    ahead = await database.value("SELECT recorded_at FROM events WHERE originator_id = 'ahead:p'")
    assert first.recorded_at == second.recorded_at == ahead


async def test_cancelled_caller_does_not_cancel_the_rest_of_its_batch(
    appender: GroupAppender, database: Database
) -> None:
    slow = await under_way(appender, request(event("slow:p"), statements=[SLEEP]))
    waiting = asyncio.create_task(appender.append(request(event("queued:p"))))
    neighbour = asyncio.create_task(appender.append(request(event("n:p"))))
    await asyncio.sleep(0)
    slow.cancel()  # in flight: it commits, and no caller gets the answer
    waiting.cancel()  # in the queue: it never goes

    await neighbour

    assert [stream for stream, _ in await all_events(database)] == ["slow:p", "n:p"]


async def test_backend_killed_mid_append_loses_and_doubles_no_event(
    appender: GroupAppender, database: Database
) -> None:
    await database.execute("CREATE TABLE pause AS SELECT 4.0::float AS seconds")
    slow = Statement("SELECT pg_sleep(seconds) FROM pause", {})
    first = await under_way(appender, request(event("a:p"), event("b:p"), statements=[slow]))
    await database.execute("UPDATE pause SET seconds = 0")  # for the second time

    await database.rows("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%%'")

    assert len((await first).positions) == 2
    assert await all_events(database) == [("a:p", 1), ("b:p", 1)]


async def test_request_that_kills_its_connection_fails_alone(appender: GroupAppender, database: Database) -> None:
    deadly = Statement("SELECT pg_terminate_backend(pg_backend_pid())", {})

    answers = await outcomes(
        appender, request(event("a:p")), request(event("b:p"), statements=[deadly]), request(event("c:p"))
    )

    assert [type(answer) for answer in answers] == [Appended, StoreUnavailable, Appended]
    assert [stream for stream, _ in await all_events(database)] == ["slow:p", "a:p", "c:p"]


async def test_locked_row_fails_only_the_request_that_needs_it(appender: GroupAppender, database: Database) -> None:
    await database.execute("CREATE TABLE kept (n int)")
    await database.execute("INSERT INTO kept VALUES (1)")
    async with database.transaction() as other:
        await other.execute("UPDATE kept SET n = 2")
        answers = await outcomes(
            appender,
            request(event("a:p")),
            request(event("b:p"), statements=[Statement("UPDATE kept SET n = 3", {})]),
            request(event("c:p")),
        )

    assert [type(answer) for answer in answers] == [Appended, StoreUnavailable, Appended]
    assert await database.value("SELECT n FROM kept") == 2


async def test_stopped_process_loses_its_lock(appender: GroupAppender, database: Database) -> None:
    stopped = await database.connect("stopped")
    await stopped.execute(session_limits())
    pipeline = stopped.pipeline()
    await pipeline.__aenter__()  # and nothing more is ever sent, not even the end of the pipeline
    await stopped.execute("BEGIN")
    await (await stopped.execute("SELECT pg_advisory_xact_lock(%s)", (append_modes.LOCK,))).fetchall()

    async with asyncio.timeout(120):
        await _append_in_the_end(appender, request(event("after:p")))
    await stopped.close()


async def test_commit_whose_answer_was_lost_counts_once(
    appender: GroupAppender, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = append_modes.MODES["together"]
    lost: list[bool] = []

    async def answer_lost(conn: Connection, requests: Sequence[AppendRequest], classify: Classify) -> list[Outcome]:
        done = await real.append(conn, requests, classify)
        if not lost:
            lost.append(True)
            await conn.close()
            raise psycopg.OperationalError("the connection broke after the commit")
        return done

    monkeypatch.setitem(append_modes.MODES, "together", real._replace(append=answer_lost))

    appended = await appender.append(request(event("a:p")))

    assert appended.positions == (await database.value("SELECT notification_id FROM events"),)
    with pytest.raises(StreamConflict):
        await appender.append(request(event("a:p", state=b'{"another":1}')))

    lost.clear()
    with pytest.raises(AnswerLost):  # its rows cannot be had again, and are not made up
        await appender.append(request(event("b:p"), statements=[Statement("SELECT 7 AS n", {}, "numbers")]))
    assert await all_events(database) == [("a:p", 1), ("b:p", 1)]


async def test_writes_fail_without_a_database_and_recover_on_their_own(database: Database, postgres: Postgres) -> None:
    appender = GroupAppender(database, retry_seconds=1.0)
    await appender.append(request(event("before:p")))
    postgres.crash()
    try:
        with pytest.raises(StoreUnavailable):
            await appender.append(request(event("away:p")))
    finally:
        postgres.start()

    async with asyncio.timeout(120):
        await _append_in_the_end(appender, request(event("after:p")))

    assert [stream for stream, _ in await all_events(database)] == ["before:p", "after:p"]
    await appender.close()


async def test_close_records_queued_requests_and_rejects_new_ones(database: Database) -> None:
    appender = GroupAppender(database)
    waiting = [asyncio.create_task(appender.append(request(event(f"s:p:{i}")))) for i in range(5)]
    await asyncio.sleep(0)

    await appender.close()

    assert all(isinstance(answer, Appended) for answer in await asyncio.gather(*waiting))
    with pytest.raises(StoreUnavailable):
        await appender.append(request(event("late:p")))


async def test_messages_of_half_a_megabyte_do_not_hang(appender: GroupAppender) -> None:
    async with asyncio.timeout(120):
        await appender.append(request(event("big:p", state=b"x" * 500_000)))
        await asyncio.gather(
            *(appender.append(request(*(event(f"s{r}:p:{i}", state=b"y" * 500) for i in range(900)))) for r in range(4))
        )


async def _append_in_the_end(appender: GroupAppender, wanted: AppendRequest) -> None:
    while True:
        try:
            await appender.append(wanted)
        except StoreUnavailable:
            await asyncio.sleep(0.05)
        else:
            return

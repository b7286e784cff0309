"""One keeper leads; a keeper that cannot lead any more is replaced, and notices itself."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from annals.store.postgres.database import Database
from annals.workers import keeper as keeping
from annals.workers.clock import Duty, keep
from annals.workers.keeper import CanRead, Keeper, Leadership, Work
from tests.integration.workers.valkey import until


class Term:
    """Counts the terms that all keepers serve at once."""

    def __init__(self) -> None:
        self.now = self.most = self.begun = 0

    async def serve(self) -> None:
        self.begun += 1
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await asyncio.Event().wait()
        finally:
            self.now -= 1


@pytest.fixture(autouse=True)
def retry_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lead until the test ends it, even if the machine stands still for some seconds."""
    monkeypatch.setattr(keeping, "_IDLE_LIMIT_MS", 120_000)
    monkeypatch.setattr(keeping, "_ANSWER_SECONDS", 120.0)


@pytest.fixture
def leadership(database: Database) -> Leadership:
    return Leadership(database)


async def test_single_keeper_leads_and_another_follows_its_end(database: Database) -> None:
    term = Term()
    keepers = [Keeper(Leadership(database), lambda: [term.serve]) for _ in range(3)]
    tasks = {keeper: asyncio.create_task(keeper.serve()) for keeper in keepers}
    for served in (1, 2, 3):
        await until(lambda served=served: term.begun == served and term.now == 1)  # type: ignore[misc]
        leader = next(keeper for keeper in tasks if keeper.active)
        tasks[leader].cancel()
        await asyncio.gather(tasks.pop(leader), return_exceptions=True)
    assert term.most == 1


async def test_keeper_that_stops_beating_is_replaced(
    database: Database, leadership: Leadership, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that is paused keeps its connection open, but sends nothing."""
    monkeypatch.setattr(keeping, "_IDLE_LIMIT_MS", 1000)
    second = Leadership(database)
    async with leadership.held() as paused:
        async with asyncio.timeout(60), second.held():
            pass
        await asyncio.wait_for(leadership.beat(paused), 60)  # it notices once it runs again


async def test_beating_keeper_is_not_replaced(
    database: Database, leadership: Leadership, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "_IDLE_LIMIT_MS", 7000)
    async with leadership.held() as lead:
        beating = asyncio.create_task(leadership.beat(lead))
        waiting = asyncio.create_task(_acquire(Leadership(database)))
        done, _ = await asyncio.wait([beating, waiting], timeout=8.5)
        assert done == set()
        beating.cancel()
    assert await asyncio.wait_for(waiting, 60)


@asynccontextmanager
async def served(keeper: Keeper) -> AsyncIterator[None]:
    task = asyncio.create_task(keeper.serve())
    try:
        yield
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def end_its_session(database: Database) -> None:
    await database.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE right(application_name, 5) = ' lead' AND datname = current_database()"
    )


async def test_keeper_stops_when_its_session_ends(database: Database, leadership: Leadership) -> None:
    term = Term()
    async with served(Keeper(leadership, lambda: [term.serve])):
        await until(lambda: term.now == 1)

        await end_its_session(database)

        await until(lambda: term.begun == 2 and term.now == 1)
        assert term.most == 1


@pytest.mark.parametrize("error", [ValueError, asyncio.CancelledError])
async def test_failed_work_ends_the_term_and_another_begins(
    leadership: Leadership, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    monkeypatch.setattr(keeping, "LAST_SECONDS", 0.1)
    term = Term()

    async def breaks_at_first() -> None:
        if term.begun == 1:
            raise error("of this work alone")
        await asyncio.Event().wait()

    async with served(Keeper(leadership, lambda: [term.serve, breaks_at_first])):
        await until(lambda: term.begun == 2 and term.now == 1)
        assert term.most == 1


async def test_work_that_always_fails_leaves_the_other_works_time(
    database: Database, leadership: Leadership, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "LAST_SECONDS", 600.0)
    term = Term()
    broke: list[int] = []

    async def breaks() -> None:
        broke.append(term.begun)
        raise ValueError("again")

    keeper = Keeper(leadership, lambda: [term.serve, breaks])
    async with served(keeper):
        await until(lambda: broke)
        await asyncio.sleep(0.3)
        assert (term.begun, term.now, keeper.active) == (1, 1, True)

        await end_its_session(database)  # a lead that is lost meanwhile is not kept

        await until(lambda: broke == [1, 2])


async def test_work_that_returns_does_not_end_the_term(leadership: Leadership, monkeypatch: pytest.MonkeyPatch) -> None:
    """Return at once, as a follower does at a poison event."""
    monkeypatch.setattr(keeping, "LAST_SECONDS", 0.0)
    term = Term()
    returned = asyncio.Event()

    async def returns() -> None:
        returned.set()

    async with served(Keeper(leadership, lambda: [term.serve, returns])):
        await returned.wait()
        await asyncio.sleep(0.3)
        assert (term.begun, term.now) == (1, 1)


async def test_keeper_begins_another_term_after_a_failed_start(
    leadership: Leadership, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "LAST_SECONDS", 0.1)
    term = Term()
    errors = iter([ValueError("not this time")])

    def begin() -> Sequence[Work]:
        for error in errors:
            raise error
        return [term.serve]

    async with served(Keeper(leadership, begin)):
        await until(lambda: term.now == 1)


async def stands_still(database: Database, position: int, cause: str) -> None:
    """Write the checkpoint of a follower that noted why it stopped."""
    await database.execute(
        "INSERT INTO checkpoints (name, position, error) VALUES ('relay', %(before)s, %(error)s)"
        " ON CONFLICT (name) DO UPDATE SET position = excluded.position, error = excluded.error",
        {"before": position - 1, "error": f"relay stands still before position {position}: {cause}: no word of it"},
    )


async def reads_all(_position: int) -> bool:
    return True


async def reads_none(_position: int) -> bool:
    return False


@pytest.mark.parametrize("cause", ["UnknownTopic", "UnreadableEvent"])
async def test_keeper_that_cannot_read_an_event_is_replaced(
    database: Database, leadership: Leadership, cause: str
) -> None:
    async with leadership.held() as lead:
        beating = asyncio.create_task(leadership.beat(lead))
        await stands_still(database, 7, cause)
        async with asyncio.timeout(60), Leadership(database, reads_all).held():
            await beating
            assert await database.value("SELECT error FROM checkpoints WHERE name = 'relay'") == ""


@pytest.mark.parametrize(("cause", "reads"), [("UnknownTopic", reads_none), ("ValueError", reads_all)])
async def test_keeper_with_stopped_followers_leads_on_if_no_other_can_read_more(
    database: Database, leadership: Leadership, cause: str, reads: CanRead
) -> None:
    async with leadership.held() as lead:
        beating = asyncio.create_task(leadership.beat(lead))
        await stands_still(database, 7, cause)
        waiting = asyncio.create_task(_acquire(Leadership(database, reads)))
        done, _ = await asyncio.wait([beating, waiting], timeout=2.0)
        assert done == set()
        assert await database.value("SELECT error FROM checkpoints WHERE name = 'relay'") != ""
        beating.cancel()
    assert await asyncio.wait_for(waiting, 60)


async def test_note_of_a_former_term_does_not_depose_a_keeper_that_read_on(
    database: Database, leadership: Leadership
) -> None:
    async with leadership.held() as lead:
        beating = asyncio.create_task(leadership.beat(lead))
        await stands_still(database, 7, "UnknownTopic")
        await database.execute("UPDATE checkpoints SET position = 7")
        waiting = asyncio.create_task(_acquire(Leadership(database, reads_all)))
        done, _ = await asyncio.wait([beating, waiting], timeout=2.0)
        assert done == set()
        beating.cancel()
    assert await asyncio.wait_for(waiting, 60)


async def test_failed_duty_runs_again() -> None:
    runs = 0

    async def fail() -> None:
        nonlocal runs
        runs += 1
        raise ValueError("not this time")

    keeping = asyncio.create_task(keep(Duty("d", 0.01, fail)))
    await until(lambda: runs >= 3)
    keeping.cancel()


async def _acquire(leadership: Leadership) -> bool:
    async with leadership.held():
        return True

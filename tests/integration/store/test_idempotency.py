"""The states of idempotency keys while processes end and Postgres stops and starts."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from annals.store.content.blobs import Blobs
from annals.store.content.contents import Contents
from annals.store.coordination import idempotency as keys
from annals.store.coordination.idempotency import (
    Allowance,
    BudgetSpent,
    Idempotency,
    InProgress,
    KeyedRequest,
    Reservation,
    Reserved,
    StoredAnswer,
)
from annals.store.coordination.leases import Leases
from annals.store.errors import StoreUnavailable
from annals.store.postgres.database import Database, Row
from annals.store.secrets.vault import Vault, master_key
from tests.integration.store.projects import add_project

REQUEST = KeyedRequest("p", "key:k", "once", "fingerprint")
ANSWER = StoredAnswer(201, [], b"made")
CHANGES_ARE_LOST = (
    "CREATE FUNCTION lose() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
    " IF TG_OP = 'DELETE' OR NEW.holder = '' THEN RAISE EXCEPTION USING ERRCODE = 'admin_shutdown'; END IF;"
    " RETURN NEW; END $$",
    "CREATE TRIGGER lose BEFORE UPDATE OR DELETE ON idempotency_keys FOR EACH ROW EXECUTE FUNCTION lose()",
)
"""A trigger that simulates an outage whenever a process releases or frees a key."""


class AnswersLate(Database):
    """Its connection breaks after the reservation, which is then sent again, or stays without an answer."""

    lost: BaseException | None = None
    twice = False

    async def row(self, sql: str, params: Any = ()) -> Row | None:
        row = await super().row(sql, params)
        if self.lost is not None and sql == keys.QUERIES["reserve"]:
            lost, self.lost = self.lost, None
            raise lost
        return await super().row(sql, params) if self.twice else row


class Side:
    """One process: its connection, its lease, and its keys."""

    def __init__(self, database: AnswersLate, known: Idempotency, holder: str) -> None:
        self.database, self.known, self.holder = database, known, holder

    async def reserve(self, own_id: str, request: KeyedRequest = REQUEST) -> Reservation:
        return await self.known.reserve(request, self.holder, own_id)

    async def reserved(self, own_id: str, request: KeyedRequest = REQUEST) -> Reserved:
        reserved = await self.reserve(own_id, request)
        assert isinstance(reserved, Reserved)
        return reserved


@asynccontextmanager
async def side(url: str, folder: Path, holder: str) -> AsyncIterator[Side]:
    database = await AnswersLate.open(url, retry_seconds=60.0)
    await Leases(database).beat(holder, "api")
    if not await database.rows("SELECT FROM projects"):
        await add_project(database, "p", "p0", "p1")
    vault = Vault(database, master_key(folder / "master.key"))
    known = Idempotency(database, Contents(database, Blobs.open(folder / "blobs")), vault)
    try:
        yield Side(database, known, holder)
    finally:
        await known.aclose()
        await database.close()


@pytest.fixture
async def one(database_url: str, tmp_path: Path) -> AsyncIterator[Side]:
    async with side(database_url, tmp_path, "one") as opened:
        yield opened


@pytest.fixture
async def other(database_url: str, tmp_path: Path) -> AsyncIterator[Side]:
    async with side(database_url, tmp_path, "other") as opened:
        yield opened


@asynccontextmanager
async def changes_lost(database: Database) -> AsyncIterator[None]:
    database.retry_seconds = (
        1.0  # the requests are refused for as long as the trigger exists: waiting longer gains nothing
    )
    for statement in CHANGES_ARE_LOST:
        await database.execute(statement)
    yield
    await database.execute("DROP FUNCTION lose CASCADE")


async def until(ask: Callable[[], Awaitable[Any]], seconds: float = 60.0) -> Any:
    """Ask until the key is no longer in progress."""
    deadline = time.monotonic() + seconds
    while (answer := await ask()) == InProgress():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)
    return answer


async def test_key_stays_reserved_until_its_holder_releases_it(one: Side, other: Side) -> None:
    reserved = await one.reserved("a")
    assert await one.reserve("b") == InProgress(), "of the same process"
    assert await other.reserve("c") == InProgress()

    one.known.release(reserved)

    taken = await until(lambda: other.reserve("c"))
    assert (taken.resource_id, taken.taken_over) == ("a", True)
    assert await one.reserve("b") == InProgress()
    await other.known.store_answer(taken, ANSWER)
    assert await one.reserve("b") == ANSWER


async def test_failed_release_of_a_key_is_repeated_once_postgres_is_back(one: Side, other: Side) -> None:
    reserved = await one.reserved("a")
    async with changes_lost(one.database):
        one.known.release(reserved)
        await asyncio.sleep(0.1)
        assert await other.reserve("b") == InProgress()

    taken = await until(lambda: other.reserve("b"))
    assert (taken.resource_id, taken.taken_over) == ("a", True)


async def test_failed_freeing_of_a_key_is_repeated_once_postgres_is_back(one: Side, other: Side) -> None:
    changed = REQUEST._replace(fingerprint="another fingerprint")
    for asker in (one, other):
        reserved = await one.reserved("a")
        async with changes_lost(one.database):
            await one.known.free(reserved)

        async def asks(asker: Side = asker) -> Reservation:
            try:
                return await asker.reserve("b", changed)
            except keys.KeyReused:
                return InProgress()

        taken = await until(asks)
        assert taken == Reserved(changed, asker.holder, "b", taken_over=False)
        await asker.known.free(taken)


@pytest.mark.parametrize("error", [StoreUnavailable(), asyncio.CancelledError()])
async def test_key_is_released_if_its_reservation_got_no_answer(one: Side, other: Side, error: BaseException) -> None:
    one.database.lost = error
    with pytest.raises(type(error)):
        await one.reserve("a")

    taken = await until(lambda: other.reserve("b"))
    assert (taken.resource_id, taken.taken_over) == ("a", True)


async def test_reservation_that_is_sent_twice_is_not_taken_over(one: Side) -> None:
    one.database.twice = True

    assert await one.reserve("a") == Reserved(REQUEST, "one", "a", taken_over=False)


async def test_parallel_requests_of_a_process_reserve_the_key_once(one: Side) -> None:
    taken = await asyncio.gather(*(one.reserve(f"own{number}") for number in range(20)))

    assert len([reserved for reserved in taken if reserved != InProgress()]) == 1


@pytest.mark.parametrize("release", [True, False])
async def test_request_that_ends_after_its_lease_leaves_the_key_to_its_new_holder(
    one: Side, other: Side, *, release: bool
) -> None:
    reserved = await one.reserved("a")
    await one.database.execute("DELETE FROM leases WHERE holder = 'one'")
    taken = await other.reserved("b")

    if release:
        one.known.release(reserved)
    else:
        await one.known.free(reserved)

    assert await one.reserve("c") == InProgress()
    await other.known.store_answer(taken, ANSWER)
    assert await one.reserve("c") == ANSWER


async def test_key_beyond_the_limit_of_pending_releases_stays_reserved_for_other_processes(
    one: Side, other: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "MOST_PENDING", 0)
    one.known.release(await one.reserved("a"))

    assert await other.reserve("b") == InProgress()
    assert await one.reserve("c") == Reserved(REQUEST, "one", "a", taken_over=True)


async def test_process_that_ends_does_not_wait_for_pending_releases(one: Side) -> None:
    reserved = await one.reserved("a")
    async with changes_lost(one.database):
        one.known.release(reserved)
        await asyncio.sleep(0.1)

        await asyncio.wait_for(one.known.aclose(), 60)


async def counts(database: Database) -> tuple[int, int, int, int]:
    """Return keys and bytes as the budgets count them, and as the rows have them."""
    row = await database.row(
        "SELECT (SELECT coalesce(sum(keys), 0)::int FROM idempotency_budgets) AS keys,"
        " (SELECT coalesce(sum(bytes), 0)::int FROM idempotency_budgets) AS bytes,"
        " count(*)::int AS rows, coalesce(sum(bytes), 0)::int AS held FROM idempotency_keys"
    )
    assert row is not None
    return row["keys"], row["bytes"], row["rows"], row["held"]


async def test_key_counts_stay_correct_through_all_outcomes_and_concurrent_sweeps(one: Side, other: Side) -> None:
    async def work(side_: Side, number: int) -> None:
        request = REQUEST._replace(key=f"k{number % 40}", project=f"p{number % 2}")
        reserved = await side_.reserve(f"id{number}", request)
        if not isinstance(reserved, Reserved):
            return
        if number % 5 == 0:
            await side_.known.free(reserved)
        elif number % 5 == 1:
            side_.known.release(reserved)
        else:
            await side_.known.store_answer(reserved, ANSWER)
            await side_.known.store_answer(reserved, ANSWER)
        if number % 7 == 0:
            await side_.database.execute("UPDATE idempotency_keys SET created_at = now() - interval '2 days'")
        if number % 3 == 0:
            await side_.known.forget_old()

    await asyncio.gather(*(work((one, other)[number % 2], number) for number in range(200)))

    keys_, bytes_, rows, held = await counts(one.database)
    assert (keys_, bytes_) == (rows, held)
    await one.database.execute("UPDATE idempotency_keys SET created_at = now() - interval '2 days'")
    await asyncio.gather(one.known.forget_old(), other.known.forget_old())
    assert await counts(one.database) == (0, 0, 0, 0)


async def test_parallel_requests_reserve_no_more_keys_than_the_pool_has(one: Side, other: Side) -> None:
    allowed = Allowance(keys=5)
    attempts = [
        (one, other)[number % 2].reserve(f"id{number}", REQUEST._replace(key=f"k{number}", allowance=allowed))
        for number in range(5)
    ]
    await asyncio.gather(*attempts)

    for side_ in (one, other):
        with pytest.raises(BudgetSpent) as refused:
            await side_.reserve("another", REQUEST._replace(key="another", allowance=allowed))
        assert refused.value.bound == "keys"
        assert 86_000 < refused.value.seconds <= 86_400


async def test_stored_answer_is_removed_before_its_key(one: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    await one.known.store_answer(await one.reserved("a"), ANSWER)
    await one.database.execute("UPDATE idempotency_keys SET created_at = now() - interval '2 days'")

    async def breaks(_self: Contents, _streams: Any) -> int:
        raise StoreUnavailable

    with monkeypatch.context() as broken:
        broken.setattr(Contents, "drop", breaks)
        with pytest.raises(StoreUnavailable):
            await one.known.forget_old()
    assert (await counts(one.database))[2] == 1

    assert await one.known.forget_old() == 1
    assert await one.database.value("SELECT count(*) FROM contents", ()) == 0

"""Snapshots shorten the loading of streams, and change nothing else."""

import asyncio
import time

import pytest

from annals.projections.replay.replay import check, rebuild
from annals.store.log import snapshots
from annals.store.log.log import EventLog
from annals.store.log.snapshot_check import SnapshotCheck
from tests.integration.store.conftest import META
from tests.integration.store.ledger import Account, absent, close, deposit, key, open_account


async def _deposited(log: EventLog, count: int) -> None:
    await log.run(open_account, absent("a"), meta=META, account="a")
    for amount in range(1, count + 1):
        await log.run(deposit, key("a"), meta=META, amount=amount)


async def _snapshot_version(log: EventLog, version: int) -> None:
    deadline = time.monotonic() + 60
    while await log.database.value("SELECT max(originator_version) FROM snapshots") != version:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


async def test_aggregate_from_a_snapshot_equals_the_one_folded_from_all_events(log: EventLog) -> None:
    await _deposited(log, 25)
    await _snapshot_version(log, 20)

    from_snapshot = await log.load(key("a"))
    await log.database.execute("DELETE FROM snapshots")
    folded = await log.load(key("a"))

    assert from_snapshot == folded
    assert vars(from_snapshot) == vars(folded)
    assert type(from_snapshot.last_on) is type(folded.last_on)


async def test_load_begins_at_the_newest_snapshot(log: EventLog) -> None:
    await _deposited(log, 32)
    await _snapshot_version(log, 30)

    await log.database.execute("DELETE FROM events WHERE originator_version <= 30")  # were they read, it would show

    assert (await log.load(key("a"))).balance == sum(range(1, 33))


async def test_past_is_folded_from_the_nearest_snapshot_before_it(log: EventLog) -> None:
    await _deposited(log, 35)
    await _snapshot_version(log, 30)
    position = (await log.reader.of_stream(key("a").stream))[26].position
    folded = await log.reader.aggregate_at(key("a"), position)

    await log.database.execute("DELETE FROM events WHERE originator_version <= 20")  # were they read, it would show

    for found in (
        await log.reader.aggregate_at(key("a"), position),
        await log.reader.aggregate_before(Account, key("a").stream, 28),
    ):
        assert found is not None
        assert folded is not None
        assert vars(found) == vars(folded)
        assert found.version == 27


async def test_snapshots_of_other_code_are_removed_with_the_next_snapshot(log: EventLog) -> None:
    await _deposited(log, 12)
    await _snapshot_version(log, 10)
    await log.database.execute("UPDATE snapshots SET shape = 'another'")

    for amount in range(10):
        await log.run(deposit, key("a"), meta=META, amount=amount)

    await _snapshot_version(log, 20)
    assert await log.database.value("SELECT count(*) FROM snapshots") == 1


async def test_snapshot_of_other_code_is_not_read(log: EventLog) -> None:
    await _deposited(log, 12)
    await _snapshot_version(log, 10)
    wrong = snapshots.take(await log.load(key("a"))).replace(b"balance", b"bananas")
    await log.database.execute("UPDATE snapshots SET shape = 'another', state = %s", (wrong,))

    assert (await log.load(key("a"))).balance == sum(range(1, 13))


async def test_append_over_several_boundaries_takes_one_snapshot(log: EventLog) -> None:
    await log.run(open_account, absent("a"), meta=META, account="a")
    account: Account = await log.load(key("a"))
    for _ in range(33):
        account.deposit(1)

    await log.record([account], meta=META)

    await _snapshot_version(log, 34)
    assert (await log.load(key("a"))).balance == 33


async def test_new_incarnation_does_not_inherit_from_the_former_ones_snapshot(log: EventLog) -> None:
    await _deposited(log, 12)
    await _snapshot_version(log, 10)
    await log.run(close, key("a"), meta=META)

    await log.run(open_account, absent("a"), meta=META, account="a")

    account = await log.load(key("a"))
    assert (account.balance, account.amounts, account.version) == (0, [], 15)


async def test_unedited_snapshots_equal_the_fold_of_their_events(log: EventLog) -> None:
    await _deposited(log, 25)
    await _snapshot_version(log, 20)
    await log.run(open_account, absent("b"), meta=META, account="b")

    compared = SnapshotCheck(log.database, log.mapper)

    assert await compared.run() == []
    assert compared.read == 2


@pytest.mark.parametrize(
    "edit",
    [
        "UPDATE snapshots SET state = %(state)s WHERE originator_version = 20",
        "UPDATE snapshots SET state = substring(state FROM 1 FOR 40) WHERE originator_version = 20",
        "UPDATE snapshots SET state = '' WHERE originator_version = 20",
        "UPDATE snapshots s SET state = o.state FROM snapshots o"
        " WHERE s.originator_version = 20 AND o.originator_version = 10",
    ],
)
async def test_edited_snapshot_is_found_and_mended(log: EventLog, edit: str) -> None:
    await _deposited(log, 25)
    await _snapshot_version(log, 20)
    position = (await log.reader.of_stream(key("a").stream))[19].position
    richer: Account = await log.reader.aggregate_at(key("a"), position)  # type: ignore[assignment]
    richer.balance += 1_000_000
    await log.database.execute(edit, {"state": snapshots.take(richer)})

    (found,) = await SnapshotCheck(log.database, log.mapper).run()
    (compared,) = await check(log.database, log.reader, ["snapshots"], report=lambda _: None)
    await rebuild(log.database, log.reader, ["snapshots"], report=lambda _: None)

    assert (found.stream, found.version, found.position) == (key("a").stream, 20, position)
    assert not compared.same
    assert (await log.load(key("a"))).balance == sum(range(1, 26))
    assert await log.database.value("SELECT max(originator_version) FROM snapshots") == 10  # which was right
    assert await SnapshotCheck(log.database, log.mapper).run() == []


async def test_snapshot_of_a_version_that_never_was_is_found(log: EventLog) -> None:
    await _deposited(log, 25)
    await _snapshot_version(log, 20)
    await log.database.execute("UPDATE snapshots SET originator_version = 90 WHERE originator_version = 20")
    await log.database.execute("UPDATE snapshots SET originator_id = 'account:p:z' WHERE originator_version = 10")

    found = await SnapshotCheck(log.database, log.mapper).run()

    assert {(one.stream, one.version) for one in found} == {(key("a").stream, 90), ("account:p:z", 10)}

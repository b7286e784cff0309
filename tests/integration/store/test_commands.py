"""Commands: the streams that they load, the events that they record, and their results."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from annals.domain.base import Aggregate
from annals.domain.errors import Conflict
from annals.store.content.contents import Content
from annals.store.errors import RequestTooLarge
from annals.store.log.log import EventLog, Key, Meta
from tests.integration.store.conftest import META, OpenLog
from tests.integration.store.ledger import (
    Account,
    AccountMissing,
    AccountTaken,
    NameTaken,
    absent,
    close,
    deposit,
    key,
    open_account,
    transfer,
)


async def test_answer_holds_the_rows_that_the_projection_returned(log: EventLog) -> None:
    recorded = await log.run(open_account, absent("a"), meta=META, account="a", name="Ann")

    (row,) = recorded.rows["accounts"]
    assert row["name"] == "Ann"
    assert row["position"] == recorded.position
    assert row["at"] == recorded.recorded_at


async def test_events_carry_the_origin_of_their_request(log: EventLog) -> None:
    await log.run(open_account, absent("a"), meta=META, account="a")

    (recorded_event,) = await log.reader.after(0, 10)
    assert recorded_event.event.metadata == {"actor": "user:u1", "request": "r1", "address": "10.0.0.1"}
    assert recorded_event.project == "p"


async def test_unchanged_write_records_nothing_and_answers_with_the_newest_position(log: EventLog) -> None:
    opened = await log.run(open_account, absent("a"), meta=META, account="a")

    recorded = await log.run(deposit, key("a"), meta=META, amount=0)

    assert recorded.position == opened.position
    assert recorded.rows == {}
    assert len(await log.reader.after(0, 10)) == 1


async def test_command_runs_again_if_a_stream_that_it_read_has_moved_on(
    log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b"):
        await log.run(open_account, absent(name), meta=META, account=name)
    load, others = EventLog._load, [deposit]

    async def load_and_be_overtaken(self: EventLog, keys: Sequence[Key]) -> Any:
        loaded = await load(self, keys)
        if len(keys) == 2 and others:
            await log.run(others.pop(), key("a"), meta=META, amount=7)
        return loaded

    def match(seen: Account, changed: Account) -> list[Aggregate]:
        changed.deposit(seen.balance + 1)
        return [changed]

    monkeypatch.setattr(EventLog, "_load", load_and_be_overtaken)
    await log.run(match, key("a"), key("b"), meta=META)

    assert (await log.load(key("b"))).balance == 8


async def test_missing_stream_is_its_own_not_found(log: EventLog) -> None:
    with pytest.raises(AccountMissing):
        await log.run(deposit, key("nobody"), meta=META, amount=1)


async def test_id_that_is_taken_is_refused_by_the_command(log: EventLog) -> None:
    await log.run(open_account, absent("a"), meta=META, account="a")

    with pytest.raises(AccountTaken):
        await log.run(open_account, absent("a"), meta=META, account="a", name="another")


async def test_id_can_be_used_again_after_its_deletion(log: EventLog) -> None:
    first = await log.run(open_account, absent("a"), meta=META, account="a", name="first")
    await log.run(deposit, key("a"), meta=META, amount=5)
    await log.run(close, key("a"), meta=META)
    with pytest.raises(AccountMissing):
        await log.load(key("a"))

    again = await log.run(open_account, absent("a"), meta=META, account="a", name="second")

    account = await log.load(key("a"))
    assert (account.name, account.balance, account.version) == ("second", 0, 4)
    assert again.rows["accounts"][0]["position"] == again.position > first.position


async def test_events_of_several_aggregates_are_recorded_together_or_not_at_all(log: EventLog) -> None:
    for name in ("a", "b"):
        await log.run(open_account, absent(name), meta=META, account=name)
    source, target = await log.load(key("a")), await log.load(key("b"))
    await log.run(deposit, key("b"), meta=META, amount=1)  # b moves on

    with pytest.raises(Conflict):
        await log.record(transfer(source, target, amount=3), meta=META)

    assert (await log.load(key("a"))).balance == 0
    assert (await log.load(key("b"))).balance == 1


async def test_command_that_lost_a_race_loads_and_decides_again(log: EventLog) -> None:
    await log.run(open_account, absent("a"), meta=META, account="a")

    await asyncio.gather(*(log.run(deposit, key("a"), meta=META, amount=1) for _ in range(4)))

    assert (await log.load(key("a"))).balance == 4


async def test_name_that_is_taken_fails_its_own_request_and_nothing_of_it_is_recorded(log: EventLog) -> None:
    await log.run(open_account, absent("a"), meta=META, account="a", name="same")

    outcomes = await asyncio.gather(
        *(log.run(open_account, absent(f"n{i}"), meta=META, account=f"n{i}") for i in range(5)),
        log.run(open_account, absent("b"), meta=META, account="b", name="same"),
        *(log.run(open_account, absent(f"m{i}"), meta=META, account=f"m{i}") for i in range(5)),
        return_exceptions=True,
    )

    assert [type(outcome) for outcome in outcomes if isinstance(outcome, BaseException)] == [NameTaken]
    assert isinstance(outcomes[5], NameTaken)
    assert len(await log.reader.after(0, 100)) == 11
    assert await log.load(absent("b")) is None


async def test_dry_run_tells_the_events_and_appends_none(log: EventLog) -> None:
    await log.run(open_account, absent("a"), meta=META, account="a")

    attempted = await log.run(deposit, key("a"), meta=META, dry_run=True, amount=7)

    assert [type(event) for event in attempted.events] == [Account.Deposited]
    assert (await log.load(key("a"))).balance == 0


async def test_contents_are_kept_with_the_event_and_checked_when_read(log: EventLog) -> None:
    small, large = b"s" * 100, b"L" * 100_000
    contents = [Content("account:p:a", "note", small), Content("account:p:a", "scan", large)]

    await log.run(open_account, absent("a"), meta=META, contents=contents, account="a")

    assert await log.contents.read("account:p:a", "note") == small
    assert await log.contents.read("account:p:a", "scan", version=1) == large
    found = await log.contents.find("account:p:a", "scan")
    assert found is not None
    assert found.size == 100_000


async def test_request_over_the_limits_of_a_batch_fails_alone(log: EventLog) -> None:
    await log.run(open_account, absent("a"), meta=META, account="a")
    account = await log.load(key("a"))
    for _ in range(1001):
        account.deposit(1)

    with pytest.raises(RequestTooLarge):
        await log.record([account], meta=META)

    assert (await log.run(deposit, key("a"), meta=META, amount=2)).rows["accounts"][0]["balance"] == 2


async def test_large_request_of_many_events_goes_through(log: EventLog) -> None:
    await log.run(open_account, absent("a"), meta=META, account="a")
    account = await log.load(key("a"))
    for _ in range(900):
        account.deposit(1)

    recorded = await log.record([account], meta=Meta(actor="import"))

    assert recorded.rows["accounts"][0]["balance"] == 900
    assert (await log.load(key("a"))).balance == 900


async def test_threads_use_the_synchronous_face(log: EventLog) -> None:
    def work() -> int:
        log.sync.run(open_account, absent("a"), meta=META, account="a")
        account = log.sync.load(key("a"))
        account.deposit(3)
        return log.sync.record([account], meta=META).position

    position = await asyncio.to_thread(work)

    assert (await log.load(key("a"))).balance == 3
    assert position == await log.reader.position()
    with pytest.raises(RuntimeError, match="await the log itself"):
        log.sync.load(key("a"))


async def test_stream_can_be_read_as_it_was(log: EventLog) -> None:
    await log.run(open_account, absent("a"), meta=META, account="a")
    then = await log.run(deposit, key("a"), meta=META, amount=5)
    await log.run(deposit, key("a"), meta=META, amount=7)
    assert then.recorded_at is not None

    account = await log.reader.aggregate_at(key("a"), then.position)

    assert account is not None
    assert vars(account)["balance"] == 5
    assert await log.reader.position_at(then.recorded_at) >= then.position


async def test_many_writers_of_one_stream_all_get_their_turn(log: EventLog, open_log: OpenLog) -> None:
    await log.run(open_account, absent("a"), meta=META, account="a")

    async with open_log() as other:
        await asyncio.gather(*(one.run(deposit, key("a"), meta=META, amount=1) for one in [log, other] * 20))

    assert (await log.load(key("a"))).balance == 40


async def test_dry_run_is_refused_as_the_append_would_be_and_gives_the_rows(log: EventLog) -> None:
    await log.run(open_account, absent("a"), meta=META, account="a", name="Ann")

    with pytest.raises(NameTaken):
        await log.run(open_account, absent("b"), meta=META, dry_run=True, account="b", name="Ann")
    attempted = await log.run(open_account, absent("b"), meta=META, dry_run=True, account="b", name="Bea")

    assert attempted.rows["accounts"][0]["name"] == "Bea"
    assert await log.database.rows("SELECT FROM accounts WHERE name = 'Bea'") == []
    assert (await log.run(open_account, absent("b"), meta=META, account="b", name="Bea")).position > 1

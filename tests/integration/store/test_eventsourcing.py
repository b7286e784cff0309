"""Programs read the log with the classes of the `eventsourcing` library."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from eventsourcing.application import AggregateNotFoundError
from eventsourcing.persistence import ProgrammingError

from annals.eventsourcing import AGGREGATES, LogApplication
from annals.store.log.log import EventLog
from annals.store.log.mapper import aggregate_classes
from tests.integration.store.conftest import META
from tests.integration.store.ledger import Account, absent, close, deposit, key, open_account

STREAM = "account:p:a"


@pytest.fixture
def application(log: EventLog, tmp_path: Path) -> Iterator[LogApplication]:
    with LogApplication({"ANNALS_DATABASE_URL": log.database.url, "ANNALS_DATA": str(tmp_path)}) as opened:
        yield opened


async def given_account(log: EventLog, *amounts: int) -> None:
    await log.run(open_account, absent("a"), meta=META, account="a", name="Ann")
    for amount in amounts:
        await log.run(deposit, key("a"), meta=META, amount=amount)


async def test_repository_folds_a_stream(application: LogApplication, log: EventLog) -> None:
    await given_account(log, 3)

    account: Account = await asyncio.to_thread(application.repository.get, STREAM)

    assert (account.balance, account.version) == (3, 2)
    with pytest.raises(AggregateNotFoundError):
        await asyncio.to_thread(application.repository.get, "account:p:nobody")


async def test_repository_folds_a_stream_that_began_again(application: LogApplication, log: EventLog) -> None:
    await given_account(log)
    await log.run(close, key("a"), meta=META)
    await log.run(open_account, absent("a"), meta=META, account="a", name="again")

    account: Account = await asyncio.to_thread(application.repository.get, STREAM)

    assert account.name == "again"


async def test_saving_an_aggregate_fails_and_records_nothing(application: LogApplication, log: EventLog) -> None:
    (account,) = open_account(None, account="a", name="Ann")

    with pytest.raises(ProgrammingError, match="HTTP API"):
        await asyncio.to_thread(application.save, account)

    assert await log.reader.position() == 0


async def test_notification_log_pages_through_all_events(application: LogApplication, log: EventLog) -> None:
    await given_account(log, *range(1, 13))

    first = await asyncio.to_thread(application.notification_log.__getitem__, "1,10")

    assert [item.topic for item in first.items] == ["account.opened", *["account.deposited"] * 9]
    assert first.next_id == "11,20"


async def test_recorder_selects_events_and_notifications(application: LogApplication, log: EventLog) -> None:
    await given_account(log, *range(1, 6))
    recorder = application.recorder

    def versions(**options: Any) -> list[int]:
        return [event.originator_version for event in recorder.select_events(STREAM, **options)]

    def ids(*arguments: Any, **options: Any) -> list[int]:
        return [notification.id for notification in recorder.select_notifications(*arguments, **options)]

    def work() -> None:
        assert versions() == [1, 2, 3, 4, 5, 6]
        assert versions(gt=2, lte=5) == [3, 4, 5]
        assert versions(desc=True, limit=2) == [6, 5]
        assert ids(2, 3) == [2, 3, 4]
        assert ids(2, 3, inclusive_of_start=False) == [3, 4, 5]
        assert ids(None, 10, stop=2) == [1, 2]
        assert ids(0, 10, topics=["account.opened"]) == [1]
        assert recorder.max_notification_id() == 6

    await asyncio.to_thread(work)


async def test_subscription_yields_recorded_and_new_events(application: LogApplication, log: EventLog) -> None:
    assert application.recorder.max_notification_id() is None

    def follow() -> list[str]:
        with application.recorder.subscribe(gt=0) as subscription:
            return [next(subscription).topic for _ in range(3)]

    await given_account(log)
    following = asyncio.create_task(asyncio.to_thread(follow))
    await log.run(deposit, key("a"), meta=META, amount=1)
    await log.run(close, key("a"), meta=META)

    assert await asyncio.wait_for(following, 60) == ["account.opened", "account.deposited", "account.closed"]


def test_environment_without_an_instance_fails_with_the_settings_to_set(tmp_path: Path) -> None:
    with pytest.raises(ProgrammingError, match="ANNALS_DATA"):
        LogApplication({"ANNALS_DATA": str(tmp_path)})


def test_every_aggregate_of_the_domain_can_be_folded() -> None:
    of_domain = {cls for cls in aggregate_classes().values() if cls.__module__.startswith("annals.domain")}

    assert set(AGGREGATES) == of_domain

"""Followers that share one tail cache: each has its own position, speed and poison event, and misses no event."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from annals.store.log import follower, tail_cache
from annals.store.log.follower import ExternalHandler, Follower, reached
from annals.store.log.log import EventLog
from annals.store.log.reader import RecordedEvent
from annals.store.log.tail_cache import TailCache
from annals.store.postgres.database import Connection
from annals.store.postgres.listener import Listener
from tests.integration.store.conftest import META
from tests.integration.store.ledger import Account, absent, close, deposit, key, open_account


class Seen:
    """A handler that records its events; it takes `seconds` for each batch, and rejects one position."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.positions: list[int] = []
        self.seconds, self.poison = seconds, 0

    async def handle(self, _conn: Connection, recorded_events: Sequence[RecordedEvent]) -> None:
        if any(recorded_event.position == self.poison for recorded_event in recorded_events):
            raise ValueError("cannot take this")
        await asyncio.sleep(self.seconds)
        self.positions += [recorded_event.position for recorded_event in recorded_events]


@asynccontextmanager
async def followed(log: EventLog, seen: dict[str, Seen], **given: Any) -> AsyncIterator[Listener]:
    """Run followers by name on one tail cache."""
    async with Listener.open(log.database) as listener:
        shared = TailCache(log.reader, listener)
        running = [
            asyncio.create_task(Follower(name, one.handle, log.reader, listener, tail_cache=shared, **given).run())
            for name, one in seen.items()
        ]
        try:
            yield listener
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)


async def deposits(log: EventLog, account: str, count: int) -> None:
    await log.run(open_account, absent(account), meta=META, account=account)
    for _ in range(count):
        await log.run(deposit, key(account), meta=META, amount=1)


async def all_positions(log: EventLog) -> list[int]:
    return [recorded_event.position for recorded_event in await log.reader.after(0, 1000)]


async def position_of(log: EventLog, name: str) -> int:
    return int(await log.database.value("SELECT position FROM checkpoints WHERE name = %s", (name,)) or 0)


def is_closing(event: Any) -> bool:
    return isinstance(event, Account.Closed)


async def test_quick_slow_and_poisoned_followers_each_see_the_log_in_order(
    log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail_cache, "PAGE", 4)
    monkeypatch.setattr(tail_cache, "EVENTS", 12)
    seen = {"quick": Seen(), "slow": Seen(0.05), "poisoned": Seen()}
    await deposits(log, "a", 4)
    seen["poisoned"].poison = (await all_positions(log))[-1]

    async with followed(log, seen, batch=3):
        await asyncio.gather(*(deposits(log, account, 10) for account in ("b", "c", "d", "e")))
        newest = await log.reader.position()
        for name in ("quick", "slow"):
            assert await reached(log.database, name, newest, seconds=60)

    there = await all_positions(log)
    assert seen["quick"].positions == there
    assert seen["slow"].positions == there
    assert seen["poisoned"].positions == there[:4]
    assert "cannot take this" in await log.database.value("SELECT error FROM checkpoints WHERE name = 'poisoned'")


async def test_batch_without_wanted_events_still_moves_the_checkpoint(log: EventLog) -> None:
    seen = Seen()
    async with followed(log, {"closings": seen}, wants=is_closing) as listener:
        await _until(lambda: listener.count > 0)
        assert await reached(log.database, "closings", 0, seconds=60)
        await deposits(log, "a", 5)
        assert await reached(log.database, "closings", await log.reader.position(), seconds=60)

        await log.run(close, key("a"), meta=META)
        await _until(lambda: bool(seen.positions))

    assert seen.positions[-1] == await log.reader.position()


async def test_poison_after_skipped_events_is_found_at_its_position(log: EventLog) -> None:
    seen = Seen()
    async with followed(log, {"closings": seen}, wants=is_closing) as listener:
        await _until(lambda: listener.count > 0)
        assert await reached(log.database, "closings", 0, seconds=60)
        await deposits(log, "a", 5)
        seen.poison = await log.reader.position() + 1
        closed = await log.run(close, key("a"), meta=META)
        assert closed.position == seen.poison

        async def stopped() -> bool:
            error = await log.database.value("SELECT error FROM checkpoints WHERE name = 'closings'")
            return f"before position {seen.poison}" in str(error)

        for _ in range(6000):
            if await stopped():
                break
            await asyncio.sleep(0.01)
        assert await stopped()

    assert await position_of(log, "closings") < seen.poison
    assert seen.poison not in seen.positions


async def test_follower_obeys_a_checkpoint_that_was_moved_meanwhile(
    log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follower, "LAZY_SECONDS", 60.0)
    seen = Seen()
    async with followed(log, {"sums": seen}):
        await deposits(log, "a", 5)
        first = await all_positions(log)
        assert await reached(log.database, "sums", first[-1], seconds=60)

        await log.database.execute("UPDATE checkpoints SET position = %s WHERE name = 'sums'", (first[2],))
        await deposits(log, "b", 1)
        assert await reached(log.database, "sums", await log.reader.position(), seconds=60)

    assert seen.positions == first + (await all_positions(log))[3:]


async def test_batch_is_sent_before_the_checkpoint_moves_until_it_succeeds(log: EventLog) -> None:
    sent: list[tuple[int, int]] = []  # position, and where the checkpoint was
    constraint_errors = 2

    async def send(recorded_events: Sequence[RecordedEvent]) -> None:
        nonlocal constraint_errors
        if recorded_events[-1].event.originator_version > 1 and constraint_errors:
            constraint_errors -= 1
            raise OSError("nobody takes it")
        at = await position_of(log, "posts")
        sent.extend((recorded_event.position, at) for recorded_event in recorded_events)

    async with Listener.open(log.database) as listener:
        shared = TailCache(log.reader, listener)
        posts = Follower("posts", ExternalHandler(send), log.reader, listener, tail_cache=shared)
        running = asyncio.create_task(posts.run())
        try:
            await deposits(log, "a", 0)
            assert await reached(log.database, "posts", await log.reader.position(), seconds=60)
            await deposits(log, "b", 3)
            assert await reached(log.database, "posts", await log.reader.position(), seconds=60)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    assert constraint_errors == 0
    assert [position for position, _ in sent] == await all_positions(log)
    assert all(at < position for position, at in sent)


async def test_batch_sent_while_another_copy_moved_the_checkpoint_is_sent_again(log: EventLog) -> None:
    sent: list[int] = []
    await deposits(log, "a", 4)
    first = await all_positions(log)

    async def send(recorded_events: Sequence[RecordedEvent]) -> None:
        if len(sent) == len(first):  # the first batch of the cache: a replay runs meanwhile
            await log.database.execute("UPDATE checkpoints SET position = %s WHERE name = 'posts'", (first[1],))
        sent.extend(recorded_event.position for recorded_event in recorded_events)

    async with Listener.open(log.database) as listener:
        await _until(lambda: listener.count > 0)
        shared = TailCache(log.reader, listener)
        follower = Follower("posts", ExternalHandler(send), log.reader, listener, tail_cache=shared, poll_seconds=600)
        running = asyncio.create_task(follower.run())
        try:
            assert await reached(log.database, "posts", first[-1], seconds=60)
            await log.run(deposit, key("a"), meta=META, amount=1)
            newest = await log.reader.position()
            await _until(lambda: len(sent) >= len(first) + 4)
            assert await reached(log.database, "posts", newest, seconds=60)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    assert sent == [*first, newest, *first[2:], newest]


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.01)

"""The tail cache that the followers of a process share returns the rows of the log's table."""

import asyncio
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annals.store.log import tail_cache
from annals.store.log.reader import EventReader, RecordedEvent
from annals.store.log.tail_cache import TailCache
from annals.store.postgres.database import Row
from annals.store.postgres.listener import Listener


class Log:
    """Stands for the log, its database and its listener: rows at positions with gaps, and what was asked."""

    def __init__(self) -> None:
        self.rows_there: list[Row] = []
        self.reads = self.decoded = 0
        self.count = self.sessions = 0
        self.database = self

    def append(self, gap: int = 1, state: bytes = b"{}") -> None:
        position = (self.rows_there[-1]["notification_id"] if self.rows_there else 0) + gap
        self.rows_there.append({"notification_id": position, "state": state})
        self.count += 1

    async def run_pipeline(self, steps: list[tuple[str, dict[str, Any]]]) -> list[list[Row]]:
        self.reads += 1
        ((_, params),) = steps
        found = self.behind(params["position"])[: params["limit"]]
        await asyncio.sleep(0)
        return [found]

    def behind(self, position: int) -> list[Row]:
        return [row for row in self.rows_there if row["notification_id"] > position]

    def recorded_event(self, row: Row) -> RecordedEvent:
        self.decoded += 1
        return RecordedEvent(row["notification_id"], datetime.now(UTC), "p", row["state"])

    def tail_cache(self) -> TailCache:
        return TailCache(cast(EventReader, self), cast(Listener, self))


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tail_cache, "PAGE", 5)
    monkeypatch.setattr(tail_cache, "EVENTS", 16)
    monkeypatch.setattr(tail_cache, "STATE_BYTES", 200)


steps = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(1, 3), st.sampled_from([1, 60, 300])),
        st.tuples(st.just("follow"), st.integers(0, 2), st.integers(1, 8)),
        st.tuples(st.just("reconnect"), st.just(0), st.just(0)),
    ),
    max_size=80,
)


@given(steps)
@settings(max_examples=200)
def test_tail_cache_returns_the_next_rows_of_the_log(steps: list[tuple[str, int, int]]) -> None:
    async def run() -> None:
        log = Log()
        shared, positions = log.tail_cache(), [0, 0, 0]
        for step, one, other in steps:
            if step == "append":
                log.append(one, b"x" * other)
            elif step == "reconnect":
                log.sessions += 1
            else:
                wanted = log.behind(positions[one])[:other]
                batch = await shared.after(positions[one], other, log.count)
                if batch is not None:
                    assert batch.rows == wanted
                if wanted:
                    positions[one] = wanted[-1]["notification_id"]

    asyncio.run(run())


async def test_followers_at_one_position_read_and_decode_once() -> None:
    log = Log()
    shared = log.tail_cache()
    for _ in range(4):
        log.append()

    found = await asyncio.gather(*(shared.after(0, 10, log.count) for _ in range(5)))
    positions = [[recorded_event.position for recorded_event in batch or ()] for batch in found]

    assert log.reads == 1
    assert log.decoded == 4
    assert positions == [[1, 2, 3, 4]] * 5


async def test_rows_of_a_batch_are_not_decoded() -> None:
    log = Log()
    log.append()
    log.append()

    batch = await log.tail_cache().after(0, 10, log.count)

    assert batch is not None
    assert (batch.rows, batch.end, log.decoded) == (log.rows_there, 2, 0)
    assert ([recorded_event.position for recorded_event in batch[1:]], log.decoded) == ([2], 1)


async def test_tail_cache_reads_again_only_after_a_notification() -> None:
    log = Log()
    shared = log.tail_cache()
    log.append()
    await shared.after(0, 10, log.count)
    nothing = await shared.after(1, 10, log.count)
    assert nothing is not None
    assert len(nothing) == 0
    assert log.reads == 1

    log.append()
    more = await shared.after(1, 10, log.count)
    assert more is not None
    assert more.rows == log.behind(1)
    assert log.reads == 2


async def test_follower_behind_the_tail_cache_reads_the_table() -> None:
    log = Log()
    for _ in range(40):
        log.append()
    shared = log.tail_cache()
    position = 0
    while batch := await shared.after(position, 5, log.count):
        position = batch.end

    assert position == 40
    assert await shared.after(0, 5, log.count) is None


async def test_lost_connection_empties_the_tail_cache() -> None:
    log = Log()
    log.append()
    shared = log.tail_cache()
    await shared.after(0, 5, log.count)

    log.rows_there[0] = {"notification_id": 1, "state": b"another"}
    log.sessions += 1
    batch = await shared.after(0, 5, log.count)

    assert [recorded_event.event for recorded_event in batch or ()] == [b"another"]

"""The requests that share a transaction."""

import asyncio
from collections import deque
from collections.abc import Iterator

import pytest
from eventsourcing.persistence import StoredEvent
from hypothesis import given
from hypothesis import strategies as st

from annals.store.log.group_append import QueuedAppend, take_batch
from annals.store.log.request import BYTE_LIMIT, EVENT_LIMIT, Appended, AppendRequest

loop = asyncio.new_event_loop()


@pytest.fixture(scope="module", autouse=True)
def _loop_closed() -> Iterator[None]:
    yield
    loop.close()


def waiting(
    *streams: str, size: int = 10, losses: int = 0, cancelled: bool = False, alone: bool = False
) -> QueuedAppend:
    answer: asyncio.Future[Appended] = loop.create_future()
    request = AppendRequest([StoredEvent(stream, 1, "t", b"") for stream in streams], alone=alone)
    one = QueuedAppend(request, size, 0.0, answer)
    one.losses = losses
    if cancelled:
        answer.cancel()
    return one


requests = st.builds(
    lambda streams, size, losses, cancelled, alone: waiting(
        *streams, size=size, losses=losses, cancelled=cancelled, alone=alone
    ),
    st.lists(st.sampled_from("abcdef"), min_size=1, max_size=3, unique=True)
    | st.integers(1, EVENT_LIMIT).map(lambda count: [f"many{number}" for number in range(count)]),
    st.integers(1, BYTE_LIMIT),
    st.sampled_from([0, 0, 0, 0, 1]),
    st.sampled_from([False, False, False, True]),
    st.sampled_from([False, False, False, True]),
)


@given(st.lists(requests, max_size=12))
def test_requests_are_appended_once_in_bounded_batches_and_in_stream_order(everybody: list[QueuedAppend]) -> None:
    queue = deque(everybody)
    gone: list[QueuedAppend] = []
    while queue:
        batch = take_batch(queue)
        if not batch:
            assert not queue
            break
        assert sum(len(one.request.events) for one in batch) <= EVENT_LIMIT
        assert sum(one.size for one in batch) <= BYTE_LIMIT
        streams = [stream for one in batch for stream in one.streams]
        assert len(streams) == len(set(streams))
        assert len(batch) == 1 or not any(one.losses or one.request.alone for one in batch)
        gone += batch

    assert {id(one) for one in gone} == {id(one) for one in everybody if not one.answer.cancelled()}
    assert len(gone) == len({id(one) for one in gone})
    for stream in "abcdef":
        wanted = [one for one in everybody if stream in one.streams and not one.answer.cancelled()]
        assert [one for one in gone if stream in one.streams] == wanted


def test_independent_requests_share_one_batch() -> None:
    queue = deque(waiting(str(number)) for number in range(50))

    assert len(take_batch(queue)) == 50


def test_second_request_for_a_stream_waits_and_so_do_requests_that_share_its_streams() -> None:
    first, second, third, free = waiting("a"), waiting("a", "b"), waiting("b"), waiting("c")

    assert take_batch(queue := deque([first, second, third, free])) == [first, free]
    assert take_batch(queue) == [second]
    assert take_batch(queue) == [third]


def test_request_whose_connection_broke_goes_alone() -> None:
    first, broke, last = waiting("a"), waiting("b", losses=1), waiting("c")

    assert take_batch(queue := deque([first, broke, last])) == [first]
    assert take_batch(queue) == [broke]
    assert take_batch(queue) == [last]

"""The bounds of one append."""

import pytest
from eventsourcing.persistence import StoredEvent
from psycopg.types.json import Jsonb

from annals.store.content.contents import ContentRow
from annals.store.errors import RequestTooLarge
from annals.store.log.request import BYTE_LIMIT, EVENT_LIMIT, AppendRequest, Statement, measure


def event(state: bytes = b"{}") -> StoredEvent:
    return StoredEvent("s:p:1", 1, "t", state)


@pytest.mark.parametrize(
    "request_",
    [
        AppendRequest([event(b"x" * BYTE_LIMIT)]),
        AppendRequest([event()] * (EVENT_LIMIT + 1)),
        AppendRequest([event()], [Statement("SELECT %(a)s", {"a": "x" * BYTE_LIMIT})]),
        AppendRequest([event()], [Statement("SELECT %(a)s", {"a": [b"x" * 1024] * 600})]),
        AppendRequest([event()], [Statement("SELECT %(a)s", {"a": Jsonb({"deep": ["x" * BYTE_LIMIT]})})]),
        AppendRequest([event()], (), [ContentRow("s:p:1", 1, "k", "d", BYTE_LIMIT, b"x" * BYTE_LIMIT, None)]),
    ],
    ids=["state", "events", "parameter", "list", "json", "content"],
)
def test_events_statements_and_contents_all_count(request_: AppendRequest) -> None:
    with pytest.raises(RequestTooLarge, match=str(BYTE_LIMIT)):
        measure(request_)


def test_request_at_the_bound_passes() -> None:
    assert measure(AppendRequest([event()] * EVENT_LIMIT)) <= BYTE_LIMIT


def test_append_without_events_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="without events"):
        measure(AppendRequest([]))

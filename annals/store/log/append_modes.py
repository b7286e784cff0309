"""The ways a batch of requests reaches Postgres, each one transaction under the lock of all appends."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import psycopg
from eventsourcing.persistence import StoredEvent

from annals.capacity.build_slots import QUERIES as BUILD_SLOTS
from annals.capacity.build_slots import demand_of
from annals.store.errors import NoFreeSlot, StreamConflict
from annals.store.log.compact_states import plain, plain_or_altered
from annals.store.log.request import Appended, AppendRequest, BuildSlot, ConcurrencySlot, ContentRow
from annals.store.postgres import sql
from annals.store.postgres.connection import Connection, Row, Step

QUERIES = sql.load(__package__, "append.sql")
LOCK = 4_105_000
"""The advisory lock of all appends, in this database."""

CHANNEL = "annals_events"
"""What an append notifies at its commit."""

FREED_SLOTS = "annals_places"
"""What tells of places that are given back, by name."""

STREAM_KEY = "events_stream_key"
"""The constraint that tells a stream's conflict from a read model's."""

DATA_KEYS = "data_keys_current"
"""The constraint that is violated by what a deleted data key sealed."""

PROJECTS = "projects_current"
"""The constraint that is violated by a request for a project that is gone or was created again."""


Outcome = Appended | Exception
Rows = dict[str, list[Row]]


async def together(conn: Connection, requests: Sequence[AppendRequest]) -> list[Outcome]:
    """All of a batch or nothing, in one trip: for batches in which nobody conflicts. Raises what Postgres refuses."""
    _, places, *returned = await conn.run_pipeline([_LOCK, *_appending(requests)])
    return list(_all_appended(requests, places, returned))


async def within_places(conn: Connection, requests: Sequence[AppendRequest]) -> list[Outcome]:
    """The batch without the requests whose functions have no place left: they get NoFreeSlot, the others commit.

    It takes one trip more, so only those that begin calls of bounded functions go, or wait, with it. Raises what
    Postgres refuses.
    """
    _, _, *found = await conn.run_pipeline([_BEGIN, _LOCK, *_asking(requests)])
    admitted = _admitted(requests, *found)
    going = [request for request, may in zip(requests, admitted, strict=True) if may]
    if not going:
        await conn.rollback()
        return [NoFreeSlot() for _ in requests]
    places, *returned = await conn.run_pipeline([*_appending(going), _COMMIT])
    outcomes = _all_appended(going, places, returned)
    return [next(outcomes) if may else NoFreeSlot() for may in admitted]


async def without_losers(conn: Connection, requests: Sequence[AppendRequest]) -> list[Outcome]:
    """The batch without the requests that lost a stream: they get StreamConflict, the others commit."""
    numbers = [number for number, request in enumerate(requests) for _ in request.events]
    events = [event for request in requests for event in request.events]
    insert = (QUERIES["insert_winners"], {**_columns(events), "requests": numbers})
    *_, inserted = await conn.run_pipeline([_BEGIN, _LOCK, insert])
    places = {(row["originator_id"], row["originator_version"]): row for row in inserted}
    won = [request for request in requests if _key(request.events[0]) in places]
    returned = await conn.run_pipeline([*_after_events(won), _COMMIT])
    outcomes: list[Outcome] = []
    rows = iter(_rows(won, returned))
    for request in requests:
        own = [places[_key(event)] for event in request.events if _key(event) in places]
        outcomes.append(_appended(own, next(rows)) if own else StreamConflict())
    return outcomes


async def one_by_one(
    conn: Connection, requests: Sequence[AppendRequest], classify: Callable[[Exception], Exception]
) -> list[Outcome]:
    """Each request behind a savepoint of its own: what one of them violates, `classify` turns into its answer alone.

    Raises only for a broken connection.
    """
    outcomes: list[Outcome] = []
    await conn.run_pipeline([_BEGIN, _LOCK])
    for request in requests:
        await conn.run_pipeline([("SAVEPOINT request", ())])
        try:
            outcomes.append(await _alone(conn, request))
            await conn.run_pipeline([("RELEASE SAVEPOINT request", ())])
        except Exception as error:
            if conn.closed:
                raise
            await conn.run_pipeline(
                [("ROLLBACK TO SAVEPOINT request", ())]
            )  # a cursor's would end all that is prepared
            outcomes.append(classify(error))
    await conn.run_pipeline([_COMMIT])
    return outcomes


async def attempt(conn: Connection, request: AppendRequest, classify: Callable[[Exception], Exception]) -> Appended:
    """What an append would give, taken back before anybody can see it. Raises what it would raise."""
    limits = ("SET LOCAL lock_timeout = '2s'", "SET LOCAL transaction_timeout = '5s'")
    try:
        await conn.run_pipeline([_BEGIN, *((limit, {}) for limit in limits)])
        await conn.run_pipeline([_LOCK])
        return await _alone(conn, request)
    except psycopg.Error as error:
        raise classify(error) from error
    finally:
        if not conn.closed:
            await conn.rollback()


async def _alone(conn: Connection, request: AppendRequest) -> Appended:
    """One request within an open transaction under the lock. Raises NoFreeSlot."""
    if request.place is not None:
        found = await conn.run_pipeline(list(_asking([request])))
        if not all(_admitted([request], *found)):
            raise NoFreeSlot
    places, *returned = await conn.run_pipeline(list(_appending([request])))
    (appended,) = _all_appended([request], places, returned)
    return appended


async def stored(conn: Connection, request: AppendRequest) -> Appended | None:
    """The positions of a request whose very events are stored already: its commit went through, its answer did not."""
    (rows,) = await conn.run_pipeline([(QUERIES["stored"], _columns(request.events))])
    found = {(row["originator_id"], row["originator_version"]): row for row in rows}
    places = []
    for event in request.events:
        row = found.get(_key(event))
        if row is None or row["topic"] != event.topic or plain_or_altered(row["state"]) != plain(event.state):
            return None
        places.append(row)
    return _appended(places, {})


_BEGIN: Step = ("BEGIN", ())
_COMMIT: Step = ("COMMIT", ())
_LOCK: Step = (QUERIES["lock"], {"key": LOCK})
"""A statement of its own, and first: what comes after it sees all that was appended before."""


def _asking(requests: Sequence[AppendRequest]) -> Iterator[Step]:
    """What asks for the places that requests want, and for the build slots if any does."""
    wanted = dict.fromkeys(request.place for request in requests if isinstance(request.place, ConcurrencySlot))
    projects, functions = [place.project_id for place in wanted], [place.function_id for place in wanted]
    yield QUERIES["places"], {"projects": projects, "functions": functions}
    if any(isinstance(request.place, BuildSlot) for request in requests):
        yield BUILD_SLOTS["demand"], ()


def _admitted(requests: Sequence[AppendRequest], free: Sequence[Row], demand_rows: Sequence[Row] = ()) -> list[bool]:
    """Which requests may go, first come, first served."""
    left = {ConcurrencySlot(row["project_id"], row["function_id"]): row["free"] for row in free}
    demand = demand_of(demand_rows)
    admitted = []
    for request in requests:
        place, admits = request.place, True
        if isinstance(place, BuildSlot):
            admits = demand.admits(place.project_id)
            demand = demand.with_one_more(place.project_id) if admits else demand
        elif place is not None and place in left:
            admits = left[place] > 0
            left[place] -= 1
        admitted.append(admits)
    return admitted


def _appending(requests: Sequence[AppendRequest]) -> Iterator[Step]:
    """All that a batch writes."""
    yield QUERIES["insert"], _columns([event for request in requests for event in request.events])
    yield from _after_events(requests)


def _all_appended(
    requests: Sequence[AppendRequest], places: Sequence[Row], returned: Sequence[list[Row]]
) -> Iterator[Appended]:
    """What each request of a batch got back of it."""
    start = 0
    for request, rows in zip(requests, _rows(requests, returned), strict=True):
        own = places[start : start + len(request.events)]
        start += len(request.events)
        yield _appended(own, rows)


def _after_events(requests: Sequence[AppendRequest]) -> Iterator[Step]:
    """The checks of a batch's projects and data keys, a step each, its contents in another, then each statement."""
    if known := {request.incarnation for request in requests if request.incarnation is not None}:
        projects, positions = [one.project_id for one in known], [one.position for one in known]
        yield QUERIES["projects"], {"projects": projects, "incarnations": positions}
    if sealed := {one for request in requests for one in request.sealed}:
        yield QUERIES["data_keys"], {"projects": [s.project_id for s in sealed], "keys": [s.key_id for s in sealed]}
    contents = [content for request in requests for content in request.contents]
    if contents:
        yield QUERIES["insert_contents"], _content_columns(contents)
    for request in requests:
        for statement in request.statements:
            yield statement.sql, statement.params


def _rows(requests: Sequence[AppendRequest], returned: Sequence[list[Row]]) -> list[Rows]:
    """What each request got back, by table, of what the steps after the events returned."""
    checked, sealed = any(request.incarnation for request in requests), any(request.sealed for request in requests)
    skipped = checked + sealed + any(request.contents for request in requests)
    results = iter(returned[skipped:])
    rows: list[Rows] = []
    for request in requests:
        own = [(statement.table, next(results)) for statement in request.statements]
        rows.append({table: found for table, found in own if table})
    return rows


def _appended(places: Sequence[Mapping[str, Any]], rows: Rows) -> Appended:
    return Appended(tuple(place["notification_id"] for place in places), places[0]["recorded_at"], rows)


def _key(event: StoredEvent) -> tuple[str, int]:
    return str(event.originator_id), event.originator_version


def _columns(events: Sequence[StoredEvent]) -> dict[str, object]:
    return {
        "streams": [event.originator_id for event in events],
        "versions": [event.originator_version for event in events],
        "topics": [event.topic for event in events],
        "states": [event.state for event in events],
    }


def _content_columns(contents: Sequence[ContentRow]) -> dict[str, object]:
    return {
        "streams": [content.stream for content in contents],
        "versions": [content.version for content in contents],
        "kinds": [content.kind for content in contents],
        "digests": [content.digest for content in contents],
        "sizes": [content.size for content in contents],
        "data": [content.data for content in contents],
        "blobs": [content.blob for content in contents],
    }

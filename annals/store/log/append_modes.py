"""The ways to append a batch of requests, each in one transaction under the lock of all appends.

`MODES` is the table of these ways: which batches start with a mode, and which mode follows when Postgres rejects the
batch. Most batches succeed with the first mode, which costs one round trip.
"""

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import psycopg
from eventsourcing.persistence import StoredEvent
from psycopg import errors as pg

from annals.store.content.contents import ContentRow
from annals.store.errors import NoFreeSlot, StreamConflict
from annals.store.log.build_demand import QUERIES as BUILD_SLOTS
from annals.store.log.build_demand import demand_of
from annals.store.log.compact_states import plain, plain_or_altered
from annals.store.log.request import Appended, AppendRequest, BuildSlot, ConcurrencySlot
from annals.store.postgres import sql
from annals.store.postgres.connection import Connection, Row, Step

QUERIES = sql.load(__package__, "append.sql")
LOCK = 4_105_000
"""The advisory lock of all appends in this database."""

FREED_SLOTS = "annals_places"
"""The channel that announces freed concurrency slots, by the slot's name."""

STREAM_KEY = "events_stream_key"
"""The constraint that another append to the same stream violates."""

DATA_KEYS = "data_keys_current"
"""The constraint that an append with a value of a deleted data key violates."""

PROJECTS = "projects_current"
"""The constraint that an append for a deleted or recreated project violates."""

Outcome = Appended | Exception
Rows = dict[str, list[Row]]
Classify = Callable[[Exception], Exception]
"""Returns the error that a request's caller gets for an error of Postgres."""

Append = Callable[[Connection, Sequence[AppendRequest], Classify], Awaitable[list[Outcome]]]


async def together(conn: Connection, requests: Sequence[AppendRequest], _classify: Classify) -> list[Outcome]:
    """Append the whole batch or nothing, in one pipeline."""
    _, inserted, *returned = await conn.run_pipeline([_LOCK, *_append_steps(requests)])
    return list(_appended_requests(requests, inserted, returned))


async def within_slots(conn: Connection, requests: Sequence[AppendRequest], _classify: Classify) -> list[Outcome]:
    """Append the requests whose slots are free, in two pipelines; the others get NoFreeSlot."""
    _, _, *found = await conn.run_pipeline([_BEGIN, _LOCK, *_slot_steps(requests)])
    admitted = _admitted(requests, *found)
    going = [request for request, may in zip(requests, admitted, strict=True) if may]
    if not going:
        await conn.rollback()
        return [NoFreeSlot() for _ in requests]
    inserted, *returned = await conn.run_pipeline([*_append_steps(going), _COMMIT])
    outcomes = _appended_requests(going, inserted, returned)
    return [next(outcomes) if may else NoFreeSlot() for may in admitted]


async def without_losers(conn: Connection, requests: Sequence[AppendRequest], _classify: Classify) -> list[Outcome]:
    """Append the requests whose streams have not moved on, in two pipelines; the others get StreamConflict."""
    numbers = [number for number, request in enumerate(requests) for _ in request.events]
    events = [event for request in requests for event in request.events]
    insert = (QUERIES["insert_winners"], {**_columns(events), "requests": numbers})
    *_, inserted = await conn.run_pipeline([_BEGIN, _LOCK, insert])
    positions = {(row["originator_id"], row["originator_version"]): row for row in inserted}
    won = [request for request in requests if _key(request.events[0]) in positions]
    returned = await conn.run_pipeline([*_steps_after_events(won), _COMMIT])
    outcomes: list[Outcome] = []
    rows = iter(_rows_by_table(won, returned))
    for request in requests:
        own = [positions[_key(event)] for event in request.events if _key(event) in positions]
        outcomes.append(_appended(own, next(rows)) if own else StreamConflict())
    return outcomes


async def one_by_one(conn: Connection, requests: Sequence[AppendRequest], classify: Classify) -> list[Outcome]:
    """Append each request behind its own savepoint; a request that fails gets its error from `classify`."""
    outcomes: list[Outcome] = []
    await conn.run_pipeline([_BEGIN, _LOCK])
    for request in requests:
        await conn.run_pipeline([("SAVEPOINT request", ())])
        try:
            outcomes.append(await _append_alone(conn, request))
            await conn.run_pipeline([("RELEASE SAVEPOINT request", ())])
        except Exception as error:
            if conn.closed:
                raise
            # not by a cursor: psycopg would deallocate all prepared statements of the connection
            await conn.run_pipeline([("ROLLBACK TO SAVEPOINT request", ())])
            outcomes.append(classify(error))
    await conn.run_pipeline([_COMMIT])
    return outcomes


def _takes_slots(requests: Sequence[AppendRequest]) -> bool:
    return any(request.slot for request in requests)


def _takes_no_slots(requests: Sequence[AppendRequest]) -> bool:
    return not _takes_slots(requests)


class Mode(NamedTuple):
    """One way to append a batch. A mode with no `starts` only follows another mode."""

    append: Append
    starts: Callable[[Sequence[AppendRequest]], bool] | None
    after_conflict: str
    """The mode that tries again after a request lost a race for a stream; empty if none does."""
    after_error: str
    """The mode that tries again after any other error of a statement."""


MODES = {
    #                       statements      starts with      after a conflict  after another error
    "together":       Mode(together,       _takes_no_slots, "without_losers", "one_by_one"),
    "within_slots":   Mode(within_slots,   _takes_slots,    "one_by_one",     "one_by_one"),
    "without_losers": Mode(without_losers, None,            "one_by_one",     "one_by_one"),
    "one_by_one":     Mode(one_by_one,     None,            "",               ""),
}  # fmt: skip


async def append_batch(conn: Connection, requests: Sequence[AppendRequest], classify: Classify) -> list[Outcome]:
    """Append a batch by the modes of the table and return each request's outcome. Raises if the connection broke."""
    mode = next(mode for mode in MODES.values() if mode.starts is not None and mode.starts(requests))
    while True:
        try:
            return await mode.append(conn, requests, classify)
        except pg.ReadOnlySqlTransaction:
            await conn.close()  # the primary became a standby, and another host has taken over
            raise
        except Exception as error:
            following = mode.after_conflict if constraint_of(error) == STREAM_KEY else mode.after_error
            if conn.closed or not following:
                raise
        await conn.rollback()
        mode = MODES[following]


async def attempt(conn: Connection, request: AppendRequest, classify: Classify) -> Appended:
    """Return the result that an append would have, and roll it back. Raises the errors that an append would raise."""
    limits = ("SET LOCAL lock_timeout = '2s'", "SET LOCAL transaction_timeout = '5s'")
    try:
        await conn.run_pipeline([_BEGIN, *((limit, {}) for limit in limits)])
        await conn.run_pipeline([_LOCK])
        return await _append_alone(conn, request)
    except psycopg.Error as error:
        raise classify(error) from error
    finally:
        if not conn.closed:
            await conn.rollback()


async def stored(conn: Connection, request: AppendRequest) -> Appended | None:
    """Return the positions of a request whose commit succeeded but whose answer was lost, or None."""
    (rows,) = await conn.run_pipeline([(QUERIES["stored"], _columns(request.events))])
    found = {(row["originator_id"], row["originator_version"]): row for row in rows}
    own = []
    for event in request.events:
        row = found.get(_key(event))
        if row is None or row["topic"] != event.topic or plain_or_altered(row["state"]) != plain(event.state):
            return None
        own.append(row)
    return _appended(own, {})


def constraint_of(error: Exception) -> str | None:
    """Return the name of the constraint that a statement violated."""
    return error.diag.constraint_name if isinstance(error, pg.IntegrityError) else None


_BEGIN: Step = ("BEGIN", ())
_COMMIT: Step = ("COMMIT", ())
_LOCK: Step = (QUERIES["lock"], {"key": LOCK})
"""Runs first and alone: the statements after it see all events that were appended before."""


async def _append_alone(conn: Connection, request: AppendRequest) -> Appended:
    """Append one request in an open transaction under the lock. Raises NoFreeSlot."""
    if request.slot is not None:
        found = await conn.run_pipeline(list(_slot_steps([request])))
        if not all(_admitted([request], *found)):
            raise NoFreeSlot
    inserted, *returned = await conn.run_pipeline(list(_append_steps([request])))
    (appended,) = _appended_requests([request], inserted, returned)
    return appended


def _slot_steps(requests: Sequence[AppendRequest]) -> Iterator[Step]:
    """Yield the queries for the free concurrency slots and, if a request takes one, for the build slots."""
    wanted = dict.fromkeys(request.slot for request in requests if isinstance(request.slot, ConcurrencySlot))
    projects, functions = [slot.project_id for slot in wanted], [slot.function_id for slot in wanted]
    yield QUERIES["free_slots"], {"projects": projects, "functions": functions}
    if any(isinstance(request.slot, BuildSlot) for request in requests):
        yield BUILD_SLOTS["demand"], ()


def _admitted(requests: Sequence[AppendRequest], free: Sequence[Row], demand_rows: Sequence[Row] = ()) -> list[bool]:
    """Return which requests get their slots, in the order of the requests."""
    left = {ConcurrencySlot(row["project_id"], row["function_id"]): row["free"] for row in free}
    demand = demand_of(demand_rows)
    admitted = []
    for request in requests:
        slot, admits = request.slot, True
        if isinstance(slot, BuildSlot):
            admits = demand.admits(slot.project_id)
            demand = demand.with_one_more(slot.project_id) if admits else demand
        elif slot is not None and slot in left:
            admits = left[slot] > 0
            left[slot] -= 1
        admitted.append(admits)
    return admitted


def _append_steps(requests: Sequence[AppendRequest]) -> Iterator[Step]:
    """Yield all statements of a batch: its events, then the statements that see their positions."""
    yield QUERIES["insert"], _columns([event for request in requests for event in request.events])
    yield from _steps_after_events(requests)


def _steps_after_events(requests: Sequence[AppendRequest]) -> Iterator[Step]:
    """Yield the checks of projects and data keys, a step each, then one step for contents, then the statements."""
    if known := {request.incarnation for request in requests if request.incarnation is not None}:
        projects, positions = [one.project_id for one in known], [one.position for one in known]
        yield QUERIES["projects"], {"projects": projects, "incarnations": positions}
    if sealed := {key for request in requests for key in request.sealed}:
        projects, keys = [key.project_id for key in sealed], [key.key_id for key in sealed]
        yield QUERIES["data_keys"], {"projects": projects, "keys": keys}
    contents = [content for request in requests for content in request.contents]
    if contents:
        yield QUERIES["insert_contents"], _content_columns(contents)
    for request in requests:
        for statement in request.statements:
            yield statement.sql, statement.params


def _appended_requests(
    requests: Sequence[AppendRequest], inserted: Sequence[Row], returned: Sequence[list[Row]]
) -> Iterator[Appended]:
    """Yield each request's result, from the rows of the inserted events and of the steps after them."""
    start = 0
    for request, rows in zip(requests, _rows_by_table(requests, returned), strict=True):
        own = inserted[start : start + len(request.events)]
        start += len(request.events)
        yield _appended(own, rows)


def _rows_by_table(requests: Sequence[AppendRequest], returned: Sequence[list[Row]]) -> list[Rows]:
    """Return each request's rows by table, from the rows of the steps after the events."""
    checked, sealed = any(request.incarnation for request in requests), any(request.sealed for request in requests)
    skipped = checked + sealed + any(request.contents for request in requests)
    results = iter(returned[skipped:])
    rows: list[Rows] = []
    for request in requests:
        own = [(statement.table, next(results)) for statement in request.statements]
        rows.append({table: found for table, found in own if table})
    return rows


def _appended(inserted: Sequence[Mapping[str, Any]], rows: Rows) -> Appended:
    return Appended(tuple(row["notification_id"] for row in inserted), inserted[0]["recorded_at"], rows)


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

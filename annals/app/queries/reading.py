"""Reads one page: its rows, its cursor and its total in one batch."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from annals.app.edge.call import Call
from annals.app.errors import CursorNotFound, QueryOrderNull
from annals.app.queries.page import PAGE, Page
from annals.app.queries.schema import Schema
from annals.app.queries.statements import MOST_COUNTED, Listing, Sql, listing
from annals.app.reads import Lookup, ReadResult
from annals.store.postgres import sql
from annals.store.postgres.database import Row

QUERIES = sql.load(__package__, "reading.sql")
COUNTER = Lookup(QUERIES["counter"], 3)


class PageRows(NamedTuple):
    """A page's rows in the list's order, and the number of all matching rows (0 if it was not counted)."""

    rows: Sequence[Row]
    total: int


async def read_page(
    call: Call, listing: Listing, *, cursor: str, noun: str, counted: bool, counter: tuple[str, str] | None = None
) -> PageRows:
    """Return a page. An unfiltered total comes from the `counter` of a scope and a name.

    Raises CursorNotFound, QueryOrderNull.
    """
    reads = call.services.reads
    wanted = [reads.rows(*listing.rows)]
    if counted:
        if counter is not None:
            wanted.append(reads.look_up(COUNTER, call.project_id, *counter))
        else:
            wanted.append(reads.rows(*listing.total))
    if listing.cursor is not None:
        wanted.append(reads.rows(*listing.cursor))
    found = await asyncio.gather(*wanted)
    call.seen(found[0].position)
    if listing.cursor is not None:
        _judge_cursor(found[-1], cursor, noun)
    rows = found[0].rows[::-1] if listing.backwards else found[0].rows
    return PageRows(rows, _total(found[1]) if counted else 0)


def read_list(
    call: Call,
    page: Page,
    schema: Schema,
    scope: Sql,
    *,
    counted: bool,
    columns: str = "*",
    limit: int = PAGE,
    cursor_scope: Sql | None = None,
    counter: tuple[str, str] | None = None,
) -> Awaitable[PageRows]:
    """Read a page of the rows within `scope`. The cursor is looked up there or in `cursor_scope`.

    Raises QueryInvalid at once, and the errors of `read_page` when it is awaited.
    """
    statements = listing(
        page,
        schema,
        scope,
        columns=columns,
        project=call.project_id,
        limit=limit,
        cursor_scope=cursor_scope or scope,
    )
    return read_page(call, statements, cursor=page.cursor, noun=schema.noun, counted=counted, counter=counter)


def _judge_cursor(found: ReadResult, cursor: str, noun: str) -> None:
    if not found.rows:
        raise CursorNotFound(f"{noun} '{cursor}' for the 'cursor' value not found.")
    if found.rows[0]["unordered"]:
        raise QueryOrderNull


def _total(found: ReadResult) -> int:
    """Return the total from a counter or a count. A counter that was never incremented has no row."""
    return min(int(found.rows[0]["value"]), MOST_COUNTED) if found.rows else 0


class Columns(NamedTuple):
    """The columns that identify a row's cached JSON, and all columns that are needed to make it."""

    light: str
    full: str


async def read_cached(
    columns: Columns,
    read: Callable[[str, bool], Awaitable[PageRows]],
    cached_json: Callable[[Row], bytes | None],
    present: Callable[[Row], Awaitable[bytes]],
    *,
    counted: bool,
) -> tuple[int, list[bytes]]:
    """Return a page's total and its rows as JSON. All rows are read again with all columns if the JSON of one is not
    cached.

    `read` takes the columns, and whether to count.
    """
    found = await read(columns.light, counted)
    bodies = [body for row in found.rows if (body := cached_json(row)) is not None]
    if len(bodies) < len(found.rows):
        whole = await read(columns.full, False)
        bodies = [cached_json(row) or await present(row) for row in whole.rows]
    return found.total, bodies

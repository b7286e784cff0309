"""Lists whose rows may be cached as JSON: then only the columns that identify a row's JSON are read."""

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from annals.app.queries.reading import PageRows
from annals.store.postgres.database import Row


class Columns(NamedTuple):
    """The columns that identify a row's cached JSON, and all columns that are needed to make it."""

    light: str
    full: str


async def read_known(
    columns: Columns,
    read: Callable[[str, bool], Awaitable[PageRows]],
    kept: Callable[[Row], bytes | None],
    present: Callable[[Row], Awaitable[bytes]],
    *,
    counted: bool,
) -> tuple[int, list[bytes]]:
    """Return a page's total and its rows as JSON. All rows are read again with all columns if the JSON of one is not
    cached.

    `read` takes the columns, and whether to count.
    """
    found = await read(columns.light, counted)
    bodies = [body for row in found.rows if (body := kept(row)) is not None]
    if len(bodies) < len(found.rows):
        whole = await read(columns.full, False)
        bodies = [kept(row) or await present(row) for row in whole.rows]
    return found.total, bodies

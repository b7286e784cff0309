"""Lists whose rows may be known as JSON already: then only what tells them apart is read."""

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from annals.app.queries.reading import PageRows
from annals.store.postgres.database import Row


class Columns(NamedTuple):
    """What a statement selects: enough to tell whether a row's JSON is known, or all that makes it."""

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
    """A page's total and its rows as JSON; rows are read again, with all columns, when one of them is not known.

    `read` takes columns, and whether to count.
    """
    found = await read(columns.light, counted)
    bodies = [body for row in found.rows if (body := kept(row)) is not None]
    if len(bodies) < len(found.rows):
        whole = await read(columns.full, False)
        bodies = [kept(row) or await present(row) for row in whole.rows]
    return found.total, bodies

"""The moment of the log that `asOf` names, once the state at that moment is known."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from annals.app.edge.call import Call
from annals.app.errors import HistoryNotReady
from annals.app.queries.schema import parse_date
from annals.domain.errors import ArgumentInvalid
from annals.store.postgres import sql

QUERIES = sql.load(__package__, "queries.sql")
WAIT_SECONDS = 5.0
"""Seconds that an answer waits for the follower that records the versions of rows."""

BEFORE_ALL = datetime(1970, 1, 1, tzinfo=UTC)
"""The earliest moment that can be read. All earlier moments have the same state."""

_PAUSE = 0.02
_LONGEST_POSITION = 18


class AsOf(NamedTuple):
    """A position of the log and the time of the last event up to it, None before the first one.

    The project of the call was created at the position `since`.
    """

    position: int
    moment: datetime | None
    since: int = 0

    @property
    def readable(self) -> int:
        """The position to read at. It is 0 before the project's creation, so that a former project of its id is not
        read."""
        return self.position if self.position >= self.since else 0


async def requested(call: Call) -> AsOf | None:
    """Return the moment that a request's `asOf` names, once the versions of rows are recorded up to it, or None.

    Raises ArgumentInvalid, HistoryNotReady.
    """
    if not call.asks_as_of:
        return None
    past = await resolve(call, call.query.get("asOf"), "asOf")
    call.fix_position(past.position)
    deadline = asyncio.get_running_loop().time() + WAIT_SECONDS
    while (await _row(call, "moment", {"position": past.position}))["kept"] < past.position:
        if asyncio.get_running_loop().time() > deadline:
            raise HistoryNotReady
        await asyncio.sleep(_PAUSE)
    return past


async def resolve(call: Call, text: object, name: str) -> AsOf:
    """Return the moment of the log that a position or an RFC 3339 time names.

    Raises ArgumentInvalid for an invalid text and for a moment in the future.
    """
    if isinstance(text, int) and not isinstance(text, bool):
        text = str(text)
    if isinstance(text, str) and text.isascii() and text.isdigit() and len(text) <= _LONGEST_POSITION:
        return await _at_position(call, int(text), name)
    moment = _date(text) if isinstance(text, str) else None
    if moment is None:
        raise ArgumentInvalid(f"Invalid `{name}` param: Value must be a position of the log or an RFC 3339 time")
    if moment > call.services.now():
        raise ArgumentInvalid(f"Invalid `{name}` param: {text} lies in the future.")
    row = await _row(call, "position", {"moment": moment})
    return AsOf(row["position"], max(moment, BEFORE_ALL), await call.incarnation())


async def _at_position(call: Call, position: int, name: str) -> AsOf:
    row = await _row(call, "moment", {"position": position})
    if position > row["newest"]:
        raise ArgumentInvalid(
            f"Invalid `{name}` param: {position} lies in the future, the log ends at {row['newest']}."
        )
    return AsOf(position, row["moment"], await call.incarnation())


async def _row(call: Call, query: str, params: Mapping[str, Any]) -> Mapping[str, Any]:
    row = await call.services.database.row(QUERIES[query], params)
    if row is None:
        raise ValueError(f"{query} always has a row")
    return row


def _date(text: str) -> datetime | None:
    """Return a date or None. A plus sign that is not escaped arrives as a space."""
    return parse_date(text) or parse_date(text.replace(" ", "+"))

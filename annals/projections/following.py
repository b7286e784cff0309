"""The read models that follow the log: the keeper runs a follower for each, `replay` rebuilds them."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from annals.projections import audit, row_versions, schedules
from annals.projections.usage import follower
from annals.store.log.follower import Handle


class Following(NamedTuple):
    """`handle` is a follower's handler, of events that it `wants` (None: of all); it writes to `tables` alone.

    `gather_seconds` is how far behind it may be for cheaper batches; `refilling` makes a rebuild's own handler.
    """

    handle: Handle
    tables: tuple[str, ...]
    wants: Callable[[Any], bool] | None = None
    gather_seconds: float = 0.1
    refilling: Callable[[], Handle] | None = None


FOLLOWING: Mapping[str, Following] = {
    "usage": Following(  # readers count what is not booked yet
        follower.follow, follower.TABLES, gather_seconds=0.3, refilling=follower.refilling
    ),
    "schedules": Following(schedules.follow, schedules.TABLES, schedules.wants),
    "audit": Following(audit.follow, audit.TABLES),
    row_versions.FOLLOWER: Following(row_versions.follow, row_versions.TABLES),
}
"""By the follower's name, which is that of its checkpoint."""

"""The event log as the processes of an instance open it: with its projections, checks, errors and log lines."""

from collections.abc import Sequence
from typing import Any

from annals.application.append_checks import required, required_after, sealed_values
from annals.application.discards import DISCARDS
from annals.application.outcome_log import OutcomeLog
from annals.projections.inline import CONSTRAINT_ERRORS, project
from annals.store.content.contents import Contents
from annals.store.log.log import EventLog
from annals.store.log.request import Statement
from annals.store.postgres.database import Database


async def open_log(database: Database, contents: Contents) -> EventLog:
    """Open the log as every process that records does. Raises StoreUnavailable."""
    return await EventLog.open(
        database,
        contents=contents,
        inline=inline,
        required=required,
        sealed=sealed_values,
        constraint_errors=CONSTRAINT_ERRORS,
        observer=OutcomeLog(),
    )


def inline(event: Any) -> Sequence[Statement]:
    """Return the statements that share an event's transaction.

    The discards come first, since they find by rows what the read models remove. The checks of the new rows come last.
    """
    discard = DISCARDS.get(type(event))
    return [*(discard(event) if discard is not None else ()), *project(event), *required_after(event)]

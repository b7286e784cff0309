"""The event log as the processes of an instance open it: with its projections, checks, errors and log lines."""

from annals.application.outcome_log import OutcomeLog
from annals.application.sealed_values import sealed_values
from annals.projections.append_checks import required
from annals.projections.inline import CONSTRAINT_ERRORS, inline
from annals.store.content.contents import Contents
from annals.store.log.log import EventLog
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

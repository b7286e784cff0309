"""The event log as the processes of an instance open it: with its projections, checks, errors and log lines."""

from annals.projections.inline import REFUSALS, inline
from annals.projections.outcome_log import OutcomeLog
from annals.projections.required import required
from annals.projections.sealed_values import sealed_values
from annals.store.contents import Contents
from annals.store.database import Database
from annals.store.log import EventLog


async def open_log(database: Database, contents: Contents) -> EventLog:
    """Open the log as every process that records does. Raises StoreUnavailable."""
    return await EventLog.open(
        database,
        contents=contents,
        inline=inline,
        required=required,
        sealed=sealed_values,
        refusals=REFUSALS,
        observer=OutcomeLog(),
    )

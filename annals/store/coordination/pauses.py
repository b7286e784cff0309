"""Holds: kinds of work that wait until somebody says so, such as the schedules of a restored instance."""

from typing import NamedTuple

from annals.store.postgres.database import Database

SCHEDULES = "schedules"
"""Schedules, one-off runs whose time has come, and what was waiting when the log was written elsewhere."""


class Hold(NamedTuple):
    """Why a kind of work is held back, in words."""

    reason: str


class Holds:
    """Read each time: a hold counts at once, in every process."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, name: str) -> Hold | None:
        reason = await self._database.value("SELECT reason FROM holds WHERE name = %s", (name,))
        return None if reason is None else Hold(reason)

    async def release(self, name: str) -> bool:
        """Let the work go on; whether it was held."""
        return await self._database.execute("DELETE FROM holds WHERE name = %s", (name,)) > 0

"""Pauses: kinds of work that wait until an operator releases them, such as schedules of a restored instance."""

from typing import NamedTuple

from annals.store.postgres.database import Database

SCHEDULES = "schedules"
"""Schedules, one-off runs that are due, and executions that waited when the log was written on another instance."""


class Pause(NamedTuple):
    """Why a kind of work waits."""

    reason: str


class Pauses:
    """The table `holds`. It is read each time, so a pause takes effect at once in every process."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, name: str) -> Pause | None:
        reason = await self._database.value("SELECT reason FROM holds WHERE name = %s", (name,))
        return None if reason is None else Pause(reason)

    async def release(self, name: str) -> bool:
        """Let the work go on, and return True if it was paused."""
        return await self._database.execute("DELETE FROM holds WHERE name = %s", (name,)) > 0

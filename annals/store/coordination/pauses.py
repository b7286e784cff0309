"""Pauses: kinds of work that wait until an operator releases them, such as schedules of a restored instance."""

from annals.store.postgres.database import Database

SCHEDULES = "schedules"
"""Schedules, one-off runs that are due, and executions that waited when the log was written on another instance."""


class Pauses:
    """The table `holds`. It is read each time, so a pause takes effect at once in every process."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, name: str) -> str | None:
        """Return the reason for which a kind of work waits, or None."""
        reason: str | None = await self._database.value("SELECT reason FROM holds WHERE name = %s", (name,))
        return reason

    async def release(self, name: str) -> bool:
        """Let the work go on, and return True if it was paused."""
        return await self._database.execute("DELETE FROM holds WHERE name = %s", (name,)) > 0

"""How far a follower has handled the log: its row in `checkpoints`, moved in the transaction of its handler."""

import asyncio

from annals.store.postgres import sql
from annals.store.postgres.database import Connection, Database

QUERIES = sql.load(__package__, "follower_checkpoint.sql")

IDLE_SECONDS = 10
"""The longest time that a handler may leave its transaction idle: a stopped process soon frees the row."""

LAZY_EVENTS, LAZY_SECONDS = 1000, 1.0
"""How far, and how long, the row may stay behind events that the follower does not want."""


class FollowerCheckpoint:
    """The row of one follower, and what this process knows of it.

    `position` is the row's position as last seen. `scanned` may lie further: no event between the two concerns the
    follower.
    """

    def __init__(self, database: Database, name: str) -> None:
        self.name = name
        self.position = self.scanned = 0
        self._database = database
        self._behind_since = 0.0

    def stand_at(self, position: int) -> None:
        """Note that the row is at a position."""
        self.position = self.scanned = position

    def may_stay_behind(self, end: int) -> bool:
        """Return whether the row may stay behind although nothing up to `end` concerns the follower."""
        now = asyncio.get_running_loop().time()
        if self.scanned == self.position:
            self._behind_since = now
        return end - self.position <= LAZY_EVENTS and now - self._behind_since <= LAZY_SECONDS

    async def lock(self, conn: Connection) -> None:
        """Lock the row, which holds back other processes' copies of the follower, and read its position."""
        params = {"name": self.name, "idle": f"{IDLE_SECONDS}s"}
        row = await (await conn.execute(QUERIES["lock"], params)).fetchone()
        if row is None:
            await conn.execute(QUERIES["add"], {"name": self.name})
            row = await (await conn.execute(QUERIES["lock"], params)).fetchone()
        assert row is not None  # noqa: S101 - added in this transaction
        if row["position"] != self.position:
            self.stand_at(int(row["position"]))

    async def move(self, conn: Connection, position: int) -> None:
        """Move the locked row."""
        await conn.execute(QUERIES["move"], {"name": self.name, "position": position})

    async def move_on(self, position: int, conn: Connection | None = None) -> bool:
        """Lock and move the row in one statement; False if another process moved it.

        Without a connection the statement is its own transaction.
        """
        params = {
            "name": self.name,
            "former": self.position,
            "position": position,
            "idle": f"{IDLE_SECONDS}s",
        }
        if conn is None:
            return await self._database.execute(QUERIES["move_from"], params) > 0
        return (await conn.execute(QUERIES["move_from"], params)).rowcount > 0

    async def note_error(self, error: str) -> None:
        """Show in the row why the follower stopped."""
        text = error[:2000].encode("utf-8", "replace").decode().replace("\0", "\ufffd")  # text that Postgres accepts
        params = {"name": self.name, "position": self.position, "error": text}
        await self._database.execute(QUERIES["note"], params)

    async def next_position(self) -> int:
        """Return the position of the first event that the follower has not handled."""
        return int(await self._database.value(QUERIES["next"], {"position": self.scanned}))


async def reached(database: Database, name: str, position: int, *, seconds: float) -> bool:
    """Wait until a follower of any process is at a position; return False if it is not there in time."""
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        at = await database.value(QUERIES["position"], {"name": name})
        if at is not None and at >= position:
            return True
        if asyncio.get_running_loop().time() > deadline:
            return False
        await asyncio.sleep(0.02)

"""The lease of this process: the name that its claims carry, and the heartbeats that keep them."""

import asyncio
import os
import secrets
import socket
from collections.abc import Callable

import psycopg
import structlog

from annals.store.coordination.leases import NO_BUILDS, BuildSlots, Leases
from annals.store.errors import StoreUnavailable

log = structlog.get_logger(__name__)


def holder_id(role: str) -> str:
    """Return a name that no process ever had."""
    return f"{role}-{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"


class ProcessLease:
    """Sends heartbeats. `id` changes if its row is gone, which means that others decided that this process is lost.

    Claims under the former name were taken back, and their outcomes are rejected. If the row is still there after a
    pause or an outage, nothing changes.
    """

    def __init__(
        self,
        leases: Leases,
        role: str,
        *,
        lease_seconds: float,
        doing: Callable[[], str] = lambda: "",
        builds: BuildSlots = NO_BUILDS,
    ) -> None:
        self._leases, self._role, self._seconds, self._doing = leases, role, lease_seconds, doing
        self._builds = builds
        self.id = holder_id(role)
        self._beats = 0

    async def enter(self) -> None:
        """Send the first heartbeat; await it before the first claim. Raises StoreUnavailable."""
        await self._beat()

    async def run(self) -> None:
        """Send heartbeats until cancelled, several times per lease."""
        while True:
            await asyncio.sleep(self._seconds / 4)
            try:
                await self._beat()
            except (StoreUnavailable, psycopg.Error) as error:
                log.warning("heartbeat_missed", holder=self.id, error=str(error).strip())

    async def leave(self) -> None:
        """End the lease: its claims are lost at once."""
        await self._leases.leave(self.id)

    async def _beat(self) -> None:
        beats = await self._count()
        if self._beats and beats == 1:
            former, self.id = self.id, holder_id(self._role)
            log.warning("holder_renamed", former=former, holder=self.id)
            await self._leases.leave(former)
            beats = await self._count()
        self._beats = beats

    async def _count(self) -> int:
        return await self._leases.beat(self.id, self._role, doing=self._doing(), builds=self._builds)

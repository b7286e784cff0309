"""This process as a holder: the name that its claims carry, and the heartbeat that keeps them."""

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
    """A name that no other process, nor this one under a former name, ever had."""
    return f"{role}-{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"


class ProcessLease:
    """`id` changes once others have judged this process lost, which it finds out by its row: it is not there any more.

    What it claimed under the former name was taken back, and its outcomes are refused. A pause or an outage that
    nobody acted upon changes nothing.
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
        """Say that this process lives; await it before the first claim. Raises StoreUnavailable."""
        await self._beat()

    async def run(self) -> None:
        """Beat until cancelled, several times per lease."""
        while True:
            await asyncio.sleep(self._seconds / 4)
            try:
                await self._beat()
            except (StoreUnavailable, psycopg.Error) as error:
                log.warning("heartbeat_missed", holder=self.id, error=str(error).strip())

    async def leave(self) -> None:
        """Take the lease along: whatever is still held is lost at once."""
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

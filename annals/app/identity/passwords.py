"""Password hashes (argon2id). Few are computed at a time, and a missing user takes as long as a wrong password."""

import asyncio
import contextlib
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from annals.domain.user import User
from annals.projections.identity_models import HashOptions
from annals.store.errors import DataKeyDeleted
from annals.store.secrets.vault import Vault

LEAST, MOST = 8, 256
"""Fewest and most characters of a password."""

_AT_ONCE = 2
_SEALED_AS = "password"
_cost = HashOptions()
_hasher = PasswordHasher(time_cost=_cost.time_cost, memory_cost=_cost.memory_cost, parallelism=_cost.threads)


class Passwords:
    """One per process. Each hash takes 64 MiB and tens of milliseconds, so concurrent ones are limited."""

    def __init__(self, vault: Vault) -> None:
        self._vault, self._turns = vault, asyncio.Semaphore(_AT_ONCE)

    async def seal(self, project_id: str, user_id: str, password: str) -> str:
        """Return a password's hash, sealed for its user."""
        async with self._turns:
            hashed = await asyncio.to_thread(_hasher.hash, password)
        return await self._vault.seal(project_id, User.stream(project_id, user_id), _SEALED_AS, hashed)

    async def fits(self, project_id: str, user_id: str, sealed: str, password: str) -> bool:
        """Return True if the password is the user's. Without a sealed hash the answer is False and takes as long."""
        hashed = ""
        if sealed:
            with contextlib.suppress(DataKeyDeleted):  # no password fits until it is set again
                hashed = await self._vault.open(project_id, User.stream(project_id, user_id), _SEALED_AS, sealed)
        async with self._turns:
            return await asyncio.to_thread(_verify, hashed, password)


def _verify(hashed: str, password: str) -> bool:
    try:
        return _hasher.verify(hashed or _dummy_hash(), password) and bool(hashed)
    except (VerificationError, InvalidHashError):
        return False


@cache
def _dummy_hash() -> str:
    return _hasher.hash("nobody has this password")

"""Guessing passwords is slow: turns are counted in the database, before a password is looked at.

So many requests or processes at once gain nothing. An address has its turns at one account; all addresses together
that an account never signed in from have theirs too, so that changing addresses gains nothing either. Addresses that
an account is known to sign in from are bound by their own turns alone: a stranger's guesses do not lock it out.
"""

import hashlib
from typing import NamedTuple

from annals.app.edge.call import Call
from annals.app.edge.client_addresses import network_of
from annals.domain.errors import RateLimited
from annals.store.postgres import sql

QUERIES = sql.load(__package__, "sign_in_throttle.sql")
KNOWN_DAYS = 30


class Pace(NamedTuple):
    """Turns at once, and seconds until the next one after that."""

    burst: int
    pause: int


OF_ADDRESS = Pace(10, 10)
OF_STRANGERS = Pace(50, 10)


class Try:
    """One attempt to sign in with an email. `begin`, then `succeed` if it was right."""

    def __init__(self, call: Call, email: str) -> None:
        self._database, self._project = call.services.database, call.realm
        account = _digest(email)
        place = _digest(f"{email} {network_of(call.address)}")
        self._strangers, self._pair, self._known = f"account:{account}", f"address:{place}", f"known:{place}"
        self._is_known = False

    async def begin(self) -> None:
        """Take a turn. Raises RateLimited when it has to be waited for."""
        await self._take(self._pair, OF_ADDRESS)
        self._is_known = bool(await self._database.value(QUERIES["is_known"], self._of(self._known)))
        if not self._is_known:
            await self._take(self._strangers, OF_STRANGERS)

    async def succeed(self) -> None:
        """Give the turns back, and know the address from now on."""
        await self._database.execute(QUERIES["know"], {**self._of(self._known), "days": KNOWN_DAYS})
        await self._database.execute(QUERIES["give_back"], {**self._of(self._pair), "pause": OF_ADDRESS.pause})
        if not self._is_known:
            await self._database.execute(
                QUERIES["give_back"], {**self._of(self._strangers), "pause": OF_STRANGERS.pause}
            )

    async def _take(self, subject: str, pace: Pace) -> None:
        given = {**self._of(subject), **pace._asdict()}
        if await self._database.row(QUERIES["take"], given) is None:
            row = await self._database.row(QUERIES["wait"], given)
            raise RateLimited(
                "Too many attempts to sign in. Wait a little and try again.",
                retry_after=max(1, row["seconds"] if row else 1),
            )

    def _of(self, subject: str) -> dict[str, object]:
        return {"project": self._project, "subject": subject}


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]

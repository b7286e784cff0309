"""The throttle of sign-ins: attempts are counted in the database before a password is checked.

So parallel requests to several processes gain nothing. Each network has a number of attempts at one account. All
networks from which the account never signed in share a further number, so changing addresses gains nothing either. A
network from which the account signed in before has only its own limit: a stranger's guesses do not lock the user out.
"""

import hashlib
from typing import NamedTuple

from annals.app.edge.call import Call
from annals.app.identity.client_addresses import network_of
from annals.domain.errors import RateLimited
from annals.store.postgres import sql

QUERIES = sql.load(__package__, "sign_in_throttle.sql")
KNOWN_DAYS = 30


class Pace(NamedTuple):
    """The number of attempts at once, and the seconds until each further one."""

    burst: int
    pause: int


OF_ADDRESS = Pace(10, 10)
OF_STRANGERS = Pace(50, 10)


class SignInAttempt:
    """One attempt to sign in with an email: `begin`, then `succeed` if the password was right."""

    def __init__(self, call: Call, email: str) -> None:
        self._database = call.services.database
        self._project = call.realm
        network = _digest(f"{email} {network_of(call.address)}")
        self._strangers = f"account:{_digest(email)}"
        self._network = f"address:{network}"
        self._known = f"known:{network}"
        self._is_known = False

    async def begin(self) -> None:
        """Count the attempt. Raises RateLimited if it comes too soon."""
        await self._take(self._network, OF_ADDRESS)
        self._is_known = bool(await self._database.value(QUERIES["is_known"], self._of(self._known)))
        if not self._is_known:
            await self._take(self._strangers, OF_STRANGERS)

    async def succeed(self) -> None:
        """Take the attempt off the counts, and remember the network as known."""
        await self._database.execute(QUERIES["know"], {**self._of(self._known), "days": KNOWN_DAYS})
        await self._database.execute(QUERIES["give_back"], {**self._of(self._network), "pause": OF_ADDRESS.pause})
        if not self._is_known:
            await self._database.execute(
                QUERIES["give_back"], {**self._of(self._strangers), "pause": OF_STRANGERS.pause}
            )

    async def _take(self, subject: str, pace: Pace) -> None:
        params = {**self._of(subject), **pace._asdict()}
        if await self._database.row(QUERIES["take"], params) is None:
            row = await self._database.row(QUERIES["wait"], params)
            raise RateLimited(
                "Too many attempts to sign in. Wait a little and try again.",
                retry_after=max(1, row["seconds"] if row else 1),
            )

    def _of(self, subject: str) -> dict[str, object]:
        return {"project": self._project, "subject": subject}


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]

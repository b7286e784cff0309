"""Who calls: the role, what it may do, and the role strings that documents and functions are opened to."""

from collections.abc import Iterable
from datetime import datetime
from typing import Literal

import msgspec

from annals.app.edge.errors import UnauthorizedScope
from annals.domain.scopes import PROJECT_SCOPES
from annals.store.secrets.tokens import Parent

Word = Literal["guests", "users", "applications", "owner", "developer", "admin"]
PUBLIC: frozenset[str] = frozenset({"public"})
_EXECUTE = frozenset({"executions.write", "execution.write"})
GUEST_SCOPES: frozenset[str] = PUBLIC | _EXECUTE | {"sessions.write"}
USER_SCOPES: frozenset[str] = (
    GUEST_SCOPES | {"account", "teams.read", "teams.write"} | {"executions.read", "execution.read"}
)
CONSOLE_SCOPES: frozenset[str] = USER_SCOPES | {"console", "projects.read", "projects.write"}
"""What users of the console hold where no project is named."""
NEWEST_SCOPES = frozenset({"executions.read", "executions.write"})
"""Names that the former API version has not; it has the singular ones, which both take."""

KEY_SCOPES: frozenset[str] = frozenset({"public", "global", "health.read", "graphql"})


ADMIN_SCOPES: frozenset[str] = frozenset(PROJECT_SCOPES) | KEY_SCOPES | {"console"}
"""What users of the console hold in a project, in admin mode."""


_NAMES_OF_EXECUTIONS = (("execution.read", "executions.read"), ("execution.write", "executions.write"))
_OTHER_NAMES = {name: other for pair in _NAMES_OF_EXECUTIONS for name, other in (pair, pair[::-1])}
"""The other name of a scope that has two."""


class CallerMembership(msgspec.Struct, frozen=True):
    """A user's confirmed place in a team."""

    membership_id: str
    team_id: str
    roles: tuple[str, ...] = ()


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """One request's caller. `name` is what a missing scope's message calls it; `actor` is written into events.

    `depth` counts the triggered functions behind a key that running code was handed.
    A user is known by `session_id`, or `by_token`, which names a session or none; `incarnation` is the position of the
    user's creation.
    `parent` is what ephemeral keys that this caller makes depend on; a caller without one cannot make any.
    `expires_at` is when the caller's credential ends, None for never.
    """

    word: Word
    scopes: frozenset[str]
    name: str = "User"
    actor: str = "guest"
    user_id: str = ""
    session_id: str = ""
    incarnation: int = 0
    by_token: bool = False
    depth: int = 0
    verified: bool = False
    labels: tuple[str, ...] = ()
    memberships: tuple[CallerMembership, ...] = ()
    parent: Parent | None = None
    expires_at: datetime | None = None

    @property
    def privileged(self) -> bool:
        """Keys and admins: no permission of a document and no `execute` list holds them back."""
        return self.word not in {"guests", "users"}

    def roles(self) -> frozenset[str]:
        """Every role string that this caller answers to (http-api.md 3.5)."""
        if not self.user_id:
            return frozenset({"any", "guests"})
        state = "verified" if self.verified else "unverified"
        user = f"user:{self.user_id}"
        roles = {"any", "users", f"users/{state}", user, f"{user}/{state}"}
        roles.update(f"label:{label}" for label in self.labels)
        for member in self.memberships:
            roles |= {f"member:{member.membership_id}", f"team:{member.team_id}"}
            roles.update(f"team:{member.team_id}/{role}" for role in member.roles)
        return frozenset(roles)

    def session_of_token(self, *, scheduled: bool = False) -> str | None:
        """The session that a token for running code is bound to (http-api.md 9.3), None for no token.

        Code is handed none for who came with one, and a run at a later date has one without a session.
        """
        if not self.user_id or self.by_token:
            return None
        return "" if scheduled else self.session_id

    def lacks(self, scopes: Iterable[str]) -> list[str]:
        """The scopes among these that the caller does not hold, by either of a scope's names."""
        return [scope for scope in scopes if self.scopes.isdisjoint({scope, _OTHER_NAMES.get(scope, scope)})]

    def require(self, scopes: frozenset[str], *, newest: bool = False) -> None:
        """Any one of the scopes is enough. Raises UnauthorizedScope, which names those that the API version has."""
        if self.scopes.isdisjoint(scopes):
            named = scopes if newest else scopes - NEWEST_SCOPES or scopes
            wanted = ",".join(f'"{scope}"' for scope in sorted(named, reverse=True))
            raise UnauthorizedScope(f"{self.name} (role: {self.word}) missing scopes ([{wanted}])")


GUEST = Caller(word="guests", scopes=GUEST_SCOPES)

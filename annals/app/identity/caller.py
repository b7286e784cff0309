"""The caller of a request: its role, its scopes, and the role strings that permissions name."""

from datetime import datetime
from typing import Literal

import msgspec

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
"""The scopes of console users if no project is named."""
KEY_SCOPES: frozenset[str] = frozenset({"public", "global", "health.read", "graphql"})


ADMIN_SCOPES: frozenset[str] = frozenset(PROJECT_SCOPES) | KEY_SCOPES | {"console"}
"""The scopes of console users in a project, in admin mode."""


class CallerMembership(msgspec.Struct, frozen=True):
    """A user's confirmed membership in a team."""

    membership_id: str
    team_id: str
    roles: tuple[str, ...] = ()


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """The caller of one request. `name` stands for it in the message about a missing scope; `actor` is written into
    events.

    `depth` counts the triggered functions behind a key that running code was given. A user has a `session_id`, or came
    `by_token`, which may name a session. `incarnation` is the position of the user's creation. Ephemeral keys that this
    caller makes depend on `parent`; a caller without one cannot make any. `expires_at` is when the caller's credential
    expires, None for never.
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
        """True for keys and admins, to which no permission of a document and no `execute` list applies."""
        return self.word not in {"guests", "users"}

    def roles(self) -> frozenset[str]:
        """Return every role string that this caller has (http-api.md 3.5)."""
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
        """Return the session that a token for running code is bound to (http-api.md 9.3), or None for no token.

        Code gets no token if the caller came by token itself. A scheduled run gets a token without a session.
        """
        if not self.user_id or self.by_token:
            return None
        return "" if scheduled else self.session_id


GUEST = Caller(word="guests", scopes=GUEST_SCOPES)

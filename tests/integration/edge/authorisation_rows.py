"""What a row of the authorisation table says: outcomes, callers, and how a missing thing is told."""

from collections.abc import Mapping
from typing import Any, NamedTuple

Outcome = tuple[int, str]
OK: Outcome = (200, "")
SCOPE: Outcome = (401, "general_unauthorized_scope")
DENIED: Outcome = (401, "user_unauthorized")
EXPIRED: Outcome = (401, "project_key_expired")
HIDDEN: Outcome = (404, "function_not_found")
UNSEEN: Outcome = (404, "execution_not_found")
NO_TEAM: Outcome = (404, "team_not_found")
NO_MEMBERSHIP: Outcome = (404, "membership_not_found")
NO_SESSION: Outcome = (404, "user_session_not_found")
ENDED: Outcome = (400, "build_already_completed")
NOT_READY: Outcome = (503, "")
"""No worker runs beside these tests."""

USERS = ("user", "member", "owner")
EVERYBODY = ("guest", *USERS)

MISSING = {
    "functionId": "function_not_found",
    "deploymentId": "deployment_not_found",
    "executionId": "execution_not_found",
    "variableId": "variable_not_found",
    "ruleId": "rule_not_found",
    "userId": "user_not_found",
    "sessionId": "user_session_not_found",
    "teamId": "team_not_found",
    "membershipId": "membership_not_found",
    "strangerId": "user_not_found",
    "projectId": "project_not_found",
    "projectVariableId": "variable_not_found",
    "keyId": "key_not_found",
    "platformId": "platform_not_found",
    "installationId": "installation_not_found",
    "position": "event_not_found",
}
"""How it is told that something is not there, not the caller's, or of another parent."""


class Row(NamedTuple):
    """One route. `scopes` are what a key or admin must hold one of, none for a public one.

    Callers: a `guest` without any credential or with a session that is over; a `user` in no team; a `member` with the
    team's role that the function is opened to, whose execution the path names; an `owner` of the team; a `key` with
    one of the scopes; an `admin` of the project. A `body`'s "@name" is the id of the world's own thing of that kind.
    `kept` names the ids whose deletion leaves something to be told, `missing` those that are told as another thing's.
    A key needs the scope `besides` too; `console` is for admins where no project is named.
    """

    scopes: str
    guest: Outcome = SCOPE
    user: Outcome = SCOPE
    member: Outcome = SCOPE
    owner: Outcome = SCOPE
    key: Outcome = OK
    admin: Outcome = OK
    body: Mapping[str, Any] = {}
    query: Mapping[str, str] = {}
    kept: frozenset[str] = frozenset()
    missing: Mapping[str, str] = {}
    besides: str = ""
    console: bool = False

    def but(self, **fields: Any) -> "Row":
        """The same route's row with some fields changed."""
        return self._replace(**fields)

    def opens_to(self, scope: str) -> bool:
        """Whether a key that holds this scope alone is let in."""
        return not self.besides and (not self.scopes or scope in self.scopes.split())

    def allows(self, caller: str) -> bool:
        """Whether this kind of caller comes as far as the thing that is named."""
        return bool(getattr(self, caller)[0] not in {401, 403, 404})

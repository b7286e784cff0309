"""The rows of the authorisation table: outcomes, callers, and the errors of missing things."""

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
"""No worker runs in these tests."""

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
"""The error of a thing that does not exist, belongs to another project, or has another parent."""


class Row(NamedTuple):
    """One route. A key or admin must hold one of the `scopes`; none stands for a public route.

    Callers: a `guest` without any credential or with an expired session; a `user` in no team; a `member` with the
    team's role that may execute the function, whose execution the path names; an `owner` of the team; a `key` with one
    of the scopes; an `admin` of the project. A `body`'s "@name" is the id of the world's own thing of that kind. `kept`
    names the ids whose deletion leaves something to read, `missing` those that answer with the error of another thing.
    A key needs the scope `besides` too. `console` routes are for admins without a project.
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
        """Return the same route's row with some fields changed."""
        return self._replace(**fields)

    def opens_to(self, scope: str) -> bool:
        """Return True if a key with only this scope may call the route."""
        return not self.besides and (not self.scopes or scope in self.scopes.split())

    def allows(self, caller: str) -> bool:
        """Return True if this kind of caller reaches the named thing."""
        return bool(getattr(self, caller)[0] not in {401, 403, 404})

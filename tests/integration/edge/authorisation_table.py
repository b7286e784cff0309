"""The permissions of every kind of caller on every route, and on ids of others. They are declared, not derived.

One file because the rows are read with the words that they are written in.
"""

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


def _public(**fields: Any) -> Row:
    everybody = dict.fromkeys(EVERYBODY, OK)
    return Row("", **{**everybody, **fields})


def _account(**fields: Any) -> Row:
    """Return a row for users only: a key or admin has no account."""
    return Row("account", user=OK, member=OK, owner=OK, key=SCOPE, admin=SCOPE, **fields)


def _console(**fields: Any) -> Row:
    """Return a row for console users without a project: no key and no other caller may call the route."""
    return Row("projects", key=SCOPE, admin=SCOPE, console=True, **fields)


_READ = Row("functions.read")
_WRITE = Row("functions.write")
_EVENTS = Row("events.read")
_EXECUTIONS = Row("executions.read execution.read", user=OK, member=OK, owner=OK)
_EXECUTION = _EXECUTIONS.but(user=UNSEEN, owner=UNSEEN)
_RUN = Row("executions.write execution.write", guest=DENIED, user=DENIED, member=OK, owner=DENIED)
_ENDING = _RUN.but(guest=HIDDEN, user=HIDDEN, member=HIDDEN, owner=HIDDEN)
_LETTERS = _EXECUTIONS.but(**dict.fromkeys(USERS, DENIED))
_REDRIVE = _RUN.but(member=DENIED)
_NO_LETTER: Mapping[str, Any] = {
    **dict.fromkeys(("key", "admin"), (404, "dead_letter_not_found")),
    "missing": {"executionId": "dead_letter_not_found"},
}
"""The execution in the paths is not a dead letter."""
_USERS_READ, _USERS_WRITE = Row("users.read"), Row("users.write")
_TEAMS_READ = Row("teams.read", user=OK, member=OK, owner=OK)
_TEAM = _TEAMS_READ.but(user=NO_TEAM)
_TEAM_WRITE = Row("teams.write", user=NO_TEAM, member=DENIED, owner=OK)
_OWN_READ, _OWN_WRITE = Row("project.read"), Row("project.write")
_FUNCTION = {"functionId": "unique()", "name": "n", "runtime": "node-22"}
_VARIABLE = {"variableId": "unique()", "key": "NEW", "value": "1"}
_TEMPLATE = {
    "owner": "appwrite",
    "repository": "templates",
    "rootDirectory": "node/starter",
    "type": "tag",
    "reference": "1.0.1",
}
_INSTALLATION = {"installationId": "unique()", "provider": "git", "url": "https://git.example.org"}
_NEW_ACCOUNT = {"userId": "unique()", "email": "new@x.test", "password": "password8"}
_SIGN_IN = {"email": "member@x.test", "password": "password8"}


def _as_of(*names: str) -> Row:
    """Return a row for a history: it can be read after the end of its resource, and a child's only under its parent."""
    others = dict.fromkeys(names[:-1], MISSING[names[-1]])
    return _EVENTS.but(kept=frozenset(names[-1:]), missing=others)


_F, _D, _E, _V = "{functionId}", "{deploymentId}", "{executionId}", "{variableId}"

TABLE: dict[str, Row] = {
    "GET /v1/functions/runtimes": _public(),
    "GET /v1/functions/specifications": _READ,
    "GET /v1/functions/templates": _public(),
    "GET /v1/functions/templates/{templateId}": _public(),
    "GET /v1/functions": _READ,
    "POST /v1/functions": _WRITE.but(body=_FUNCTION),
    f"GET /v1/functions/{_F}": _READ,
    f"PUT /v1/functions/{_F}": _WRITE.but(body={"name": "renamed"}),
    f"DELETE /v1/functions/{_F}": _WRITE,
    f"PATCH /v1/functions/{_F}/deployment": _WRITE.but(body={"deploymentId": "@deploymentId"}),
    f"PATCH /v1/functions/{_F}/deployments/{_D}": _WRITE,
    f"GET /v1/functions/{_F}/deployments": _READ,
    f"POST /v1/functions/{_F}/deployments": _WRITE,
    f"POST /v1/functions/{_F}/deployments/duplicate": _WRITE.but(body={"deploymentId": "@deploymentId"}),
    f"POST /v1/functions/{_F}/deployments/template": _WRITE.but(body=_TEMPLATE),
    f"POST /v1/functions/{_F}/deployments/vcs": _WRITE.but(
        body={"type": "branch", "reference": "main"},
        key=(404, "installation_not_found"),
        admin=(404, "installation_not_found"),
    ),
    f"GET /v1/functions/{_F}/deployments/{_D}": _READ,
    f"DELETE /v1/functions/{_F}/deployments/{_D}": _WRITE,
    f"PATCH /v1/functions/{_F}/deployments/{_D}/status": _WRITE.but(key=ENDED, admin=ENDED),
    f"GET /v1/functions/{_F}/deployments/{_D}/download": _READ,
    f"GET /v1/functions/{_F}/deployments/{_D}/logs": _READ,
    f"PATCH /v1/functions/{_F}/deployments/{_D}/build": _WRITE.but(key=ENDED, admin=ENDED),
    f"POST /v1/functions/{_F}/deployments/{_D}/build": _WRITE,
    f"POST /v1/functions/{_F}/deployments/{_D}/builds/{{buildId}}": _WRITE,
    f"GET /v1/functions/{_F}/deployments/{_D}/build/download": _READ,
    f"GET /v1/functions/{_F}/executions": _EXECUTIONS,
    f"POST /v1/functions/{_F}/executions": _RUN,
    f"POST /v1/functions/{_F}/deployments/{_D}/executions": _RUN.but(member=DENIED),
    f"GET /v1/functions/{_F}/executions/{_E}/logs": _EXECUTION.but(**dict.fromkeys(USERS, DENIED)),
    f"GET /v1/functions/{_F}/executions/{_E}/logs/download": _EXECUTION.but(**dict.fromkeys(USERS, DENIED)),
    f"PATCH /v1/functions/{_F}/executions/{_E}/status": _RUN.but(
        **dict.fromkeys(("guest", "user", "owner"), UNSEEN),
        member=(400, "execution_already_ended"),
        key=(400, "execution_already_ended"),
        admin=(400, "execution_already_ended"),
    ),
    f"GET /v1/functions/{_F}/executions/{_E}": _EXECUTION,
    f"DELETE /v1/functions/{_F}/executions/{_E}": _ENDING,
    "GET /v1/functions/usage": _READ,
    f"GET /v1/functions/{_F}/usage": _READ,
    "GET /v1/usage": _READ,
    "GET /v1/usage/executions": _READ,
    f"GET /v1/functions/{_F}/variables": _READ,
    f"POST /v1/functions/{_F}/variables": _WRITE.but(body=_VARIABLE),
    f"GET /v1/functions/{_F}/variables/{_V}": _READ,
    f"PUT /v1/functions/{_F}/variables/{_V}": _WRITE.but(body={"key": "B"}),
    f"DELETE /v1/functions/{_F}/variables/{_V}": _WRITE,
    "GET /v1/proxy/rules": Row("rules.read"),
    "POST /v1/proxy/rules/function": Row(
        "rules.write", body={"domain": "new.example.org", "functionId": "@functionId"}
    ),
    "GET /v1/proxy/rules/{ruleId}": Row("rules.read"),
    "DELETE /v1/proxy/rules/{ruleId}": Row("rules.write"),
    "GET /v1/health": _public(),
    "GET /v1/health/version": _public(),
    "GET /v1/health/ready": _public(**dict.fromkeys((*EVERYBODY, "key", "admin"), NOT_READY)),
    "GET /v1/limits": _public(),
    "GET /metrics": _public(),
    "GET /v1/users": _USERS_READ,
    "POST /v1/users": _USERS_WRITE.but(body={"userId": "unique()"}),
    "GET /v1/users/{userId}": _USERS_READ,
    "DELETE /v1/users/{userId}": _USERS_WRITE,
    "PATCH /v1/users/{userId}/name": _USERS_WRITE.but(body={"name": "n"}),
    "PATCH /v1/users/{userId}/email": _USERS_WRITE.but(body={"email": "other@x.test"}),
    "PATCH /v1/users/{userId}/phone": _USERS_WRITE.but(body={"number": "+4915112345678"}),
    "PATCH /v1/users/{userId}/password": _USERS_WRITE.but(body={"password": "password9"}),
    "PATCH /v1/users/{userId}/status": _USERS_WRITE.but(body={"status": False}),
    "PATCH /v1/users/{userId}/verification": _USERS_WRITE.but(body={"emailVerification": True}),
    "PATCH /v1/users/{userId}/verification/phone": _USERS_WRITE.but(body={"phoneVerification": True}),
    "PUT /v1/users/{userId}/labels": _USERS_WRITE.but(body={"labels": ["vip"]}),
    "GET /v1/users/{userId}/sessions": _USERS_READ,
    "POST /v1/users/{userId}/sessions": _USERS_WRITE,
    "DELETE /v1/users/{userId}/sessions": _USERS_WRITE,
    "DELETE /v1/users/{userId}/sessions/{sessionId}": _USERS_WRITE,
    "POST /v1/users/{userId}/jwts": _USERS_WRITE,
    "POST /v1/account": Row("sessions.write", guest=OK, user=OK, member=OK, owner=OK, body=_NEW_ACCOUNT),
    "GET /v1/account": _account(),
    "POST /v1/account/sessions/email": Row("sessions.write", guest=OK, user=OK, member=OK, owner=OK, body=_SIGN_IN),
    "GET /v1/account/sessions": _account(),
    "DELETE /v1/account/sessions": _account(),
    "GET /v1/account/sessions/{sessionId}": _account().but(user=NO_SESSION, owner=NO_SESSION),
    "DELETE /v1/account/sessions/{sessionId}": _account().but(user=NO_SESSION, owner=NO_SESSION),
    "POST /v1/account/jwts": _account(),
    "POST /v1/account/jwt": _account(),
    "GET /v1/teams": _TEAMS_READ,
    "POST /v1/teams": _TEAMS_READ.but(scopes="teams.write", body={"teamId": "unique()", "name": "n"}),
    "GET /v1/teams/{teamId}": _TEAM,
    "PUT /v1/teams/{teamId}": _TEAM_WRITE.but(body={"name": "n"}),
    "DELETE /v1/teams/{teamId}": _TEAM_WRITE,
    "GET /v1/teams/{teamId}/memberships": _TEAM,
    "POST /v1/teams/{teamId}/memberships": _TEAM_WRITE.but(body={"userId": "@strangerId", "roles": []}),
    "GET /v1/teams/{teamId}/memberships/{membershipId}": _TEAM,
    "PATCH /v1/teams/{teamId}/memberships/{membershipId}": _TEAM_WRITE.but(body={"roles": ["ops"]}),
    "PATCH /v1/teams/{teamId}/memberships/{membershipId}/status": _TEAM_WRITE.but(
        body={"userId": "member", "secret": "x"},
        user=NO_MEMBERSHIP,
        missing={"teamId": "membership_not_found"},
        member=(409, "membership_already_confirmed"),
        **dict.fromkeys(("owner", "key", "admin"), DENIED),
    ),
    "DELETE /v1/teams/{teamId}/memberships/{membershipId}": _TEAM_WRITE.but(
        user=NO_MEMBERSHIP, member=OK, missing={"teamId": "membership_not_found"}
    ),
    "GET /v1/projects": _console(),
    "POST /v1/projects": _console(body={"projectId": "unique()", "name": "n"}),
    "GET /v1/projects/{projectId}": _console(),
    "PATCH /v1/projects/{projectId}": _console(body={"name": "n"}),
    "DELETE /v1/projects/{projectId}": _console(),
    "PATCH /v1/projects/{projectId}/service": _console(body={"service": "functions", "status": False}),
    "PATCH /v1/projects/{projectId}/api": _console(body={"api": "rest", "status": False}),
    "GET /v1/projects/{projectId}/keys": _console(),
    "POST /v1/projects/{projectId}/keys": _console(body={"name": "n", "scopes": []}),
    "GET /v1/projects/{projectId}/keys/{keyId}": _console(),
    "DELETE /v1/projects/{projectId}/keys/{keyId}": _console(),
    "GET /v1/projects/{projectId}/platforms": _console(),
    "POST /v1/projects/{projectId}/platforms": _console(body={"type": "web", "name": "n", "hostname": "x.test"}),
    "GET /v1/projects/{projectId}/platforms/{platformId}": _console(),
    "DELETE /v1/projects/{projectId}/platforms/{platformId}": _console(),
    "GET /v1/project": _OWN_READ,
    "PATCH /v1/project/services/{serviceId}": _OWN_WRITE.but(body={"enabled": False}),
    "PATCH /v1/project/protocols/{protocolId}": _OWN_WRITE.but(body={"enabled": False}),
    "GET /v1/project/platforms": Row("platforms.read"),
    "POST /v1/project/platforms/web": Row(
        "platforms.write", body={"platformId": "unique()", "name": "n", "hostname": "x.test"}
    ),
    "GET /v1/project/platforms/{platformId}": Row("platforms.read"),
    "DELETE /v1/project/platforms/{platformId}": Row("platforms.write"),
    "GET /v1/project/variables": _OWN_READ,
    "POST /v1/project/variables": _OWN_WRITE.but(body=_VARIABLE),
    "GET /v1/project/variables/{variableId}": _OWN_READ,
    "PUT /v1/project/variables/{variableId}": _OWN_WRITE.but(body={"key": "B"}),
    "DELETE /v1/project/variables/{variableId}": _OWN_WRITE,
    "GET /v1/console/variables": Row(""),
    "GET /v1/console/regions": _public(),
    "POST /v1/project/keys/ephemeral": Row("keys.write", body={"scopes": [], "duration": 60}),
    "POST /v1/projects/{projectId}/jwts": _console(body={"scopes": []}),
    "GET /v1/checkpoints": _EVENTS,
    "GET /v1/checkpoints/latest": _EVENTS,
    "GET /v1/checkpoints/consistency": _EVENTS.but(query={"from": "@checkpoint"}),
    "GET /v1/events/{position}/proof": _EVENTS,
    "GET /v1/events": _EVENTS,
    "GET /v1/events/{position}": _EVENTS,
    "GET /v1/events/{position}/tree": _EVENTS,
    f"GET /v1/functions/{_F}/history": _as_of("functionId"),
    f"GET /v1/functions/{_F}/variables/{_V}/history": _as_of("functionId", "variableId"),
    f"GET /v1/functions/{_F}/deployments/{_D}/history": _as_of("functionId", "deploymentId"),
    f"GET /v1/functions/{_F}/executions/{_E}/history": _as_of("functionId", "executionId"),
    "GET /v1/users/{userId}/history": _as_of("userId"),
    "GET /v1/teams/{teamId}/history": _as_of("teamId"),
    "GET /v1/project/history": _EVENTS,
    "GET /v1/projects/{projectId}/history": _console(kept=frozenset({"projectId"})),
    f"GET /v1/functions/{_F}/diff": _EVENTS.but(query={"from": "@position"}),
    f"POST /v1/functions/{_F}/revert": _WRITE.but(body={"to": "@position"}, besides="events.read"),
    f"GET /v1/functions/{_F}/executions/{_E}/configuration": _READ.but(
        kept=frozenset({"executionId"}), missing={"functionId": "execution_not_found"}
    ),
    f"GET /v1/functions/{_F}/policy": _READ,
    f"PUT /v1/functions/{_F}/policy": _WRITE,
    f"PATCH /v1/functions/{_F}/policy": _WRITE,
    f"GET /v1/functions/{_F}/dead-letters": _LETTERS,
    f"POST /v1/functions/{_F}/dead-letters/redrive": _REDRIVE,
    f"POST /v1/functions/{_F}/dead-letters/{_E}/redrive": _REDRIVE.but(**_NO_LETTER),
    f"DELETE /v1/functions/{_F}/dead-letters/{_E}": _REDRIVE.but(**_NO_LETTER),
    f"GET /v1/functions/{_F}/executions/{_E}/attempts": _EXECUTION.but(**dict.fromkeys(USERS, DENIED)),
    "GET /v1/vcs/installations": Row("vcs.read"),
    "POST /v1/vcs/installations": Row("vcs.write", body=_INSTALLATION),
    "GET /v1/vcs/installations/{installationId}": Row("vcs.read"),
    "DELETE /v1/vcs/installations/{installationId}": Row("vcs.write"),
    "POST /v1/vcs/installations/{installationId}/pushes": _public(
        **dict.fromkeys((*EVERYBODY, "key", "admin"), DENIED)
    ),
    "GET /openapi.json": _public(),
    "GET /docs": _public(),
    "GET /docs/{file_path}": _public(),
}

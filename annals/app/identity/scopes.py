"""The scopes that operations require, and the check that a caller holds one (http-api.md 3.3)."""

from collections.abc import Iterable

from annals.app.errors import UnauthorizedScope
from annals.app.identity.caller import Caller

FUNCTIONS_READ = frozenset({"functions.read"})
FUNCTIONS_WRITE = frozenset({"functions.write"})
EVENTS_READ = frozenset({"events.read"})
RULES_READ = frozenset({"rules.read"})
RULES_WRITE = frozenset({"rules.write"})
KEYS_WRITE = frozenset({"keys.write"})
CONSOLE = frozenset({"console", "health.read"})
VCS_READ = frozenset({"vcs.read"})
VCS_WRITE = frozenset({"vcs.write"})
EXECUTIONS_READ = frozenset({"executions.read", "execution.read"})
EXECUTIONS_WRITE = frozenset({"executions.write", "execution.write"})
USERS_READ = frozenset({"users.read"})
USERS_WRITE = frozenset({"users.write"})
SESSIONS_WRITE = frozenset({"sessions.write"})
ACCOUNT = frozenset({"account"})
TEAMS_READ = frozenset({"teams.read"})
TEAMS_WRITE = frozenset({"teams.write"})
PROJECT_READ = frozenset({"project.read"})
PROJECT_WRITE = frozenset({"project.write"})
PROJECTS_READ = frozenset({"projects.read"})
PROJECTS_WRITE = frozenset({"projects.write"})
PLATFORMS_READ = frozenset({"platforms.read"})
PLATFORMS_WRITE = frozenset({"platforms.write"})

NEWEST_SCOPES = frozenset({"executions.read", "executions.write"})
"""Scopes that older API versions lack. They have the singular names, which all versions accept."""

_NAMES_OF_EXECUTIONS = (("execution.read", "executions.read"), ("execution.write", "executions.write"))
_OTHER_NAMES = {name: other for pair in _NAMES_OF_EXECUTIONS for name, other in (pair, pair[::-1])}
"""The other name of a scope that has two."""


def require_any(caller: Caller, scopes: frozenset[str], *, newest: bool = False) -> None:
    """Require any one of the scopes. Raises UnauthorizedScope, which names the scopes that the API version knows."""
    if caller.scopes.isdisjoint(scopes):
        named = scopes if newest else scopes - NEWEST_SCOPES or scopes
        wanted = ",".join(f'"{scope}"' for scope in sorted(named, reverse=True))
        raise UnauthorizedScope(f"{caller.name} (role: {caller.word}) missing scopes ([{wanted}])")


def missing_scopes(caller: Caller, scopes: Iterable[str]) -> list[str]:
    """Return those of the scopes that the caller does not hold under either of their names."""
    return [scope for scope in scopes if caller.scopes.isdisjoint({scope, _OTHER_NAMES.get(scope, scope)})]

"""The scopes of a function's code: a key may only change code whose scopes the key holds itself.

Otherwise a key with `functions.write` could gain every scope: through a new function with more scopes, or through code,
a variable or a build command in a function that already has them.
"""

from collections.abc import Iterable

from annals.app.edge.call import Call
from annals.app.errors import UnauthorizedScope
from annals.app.identity.scopes import missing_scopes
from annals.app.parameters.kinds import is_uid
from annals.app.reads import Lookup
from annals.store.postgres import sql

QUERIES = sql.load(__package__, "code_scopes.sql")
_OF_FUNCTION = Lookup(QUERIES["of_function"], 2)
_OF_PROJECT = Lookup(QUERIES["of_project"], 1)
_OF_INSTALLATION = Lookup(QUERIES["of_installation"], 2)


async def require_given(call: Call) -> None:
    """Require the scopes that the request gives to a function. Raises UnauthorizedScope."""
    await require(call, call.values["scopes"])


async def require_of_function(call: Call) -> None:
    """Require the scopes of the function in the path. Raises UnauthorizedScope."""
    function_id = call.path_values["functionId"]
    if is_uid(function_id):  # otherwise the operation answers with an error
        await _require_found(call, _OF_FUNCTION, call.project_id, function_id)


async def require_of_project(call: Call) -> None:
    """Require the scopes of all functions of the project. Raises UnauthorizedScope."""
    await _require_found(call, _OF_PROJECT, call.project_id)


async def require_of_installation(call: Call) -> None:
    """Require the scopes of functions whose code the named installation would fetch. Raises UnauthorizedScope."""
    await _require_found(call, _OF_INSTALLATION, call.project_id, call.values["installationId"])


async def require(call: Call, scopes: Iterable[str]) -> None:
    """Raise UnauthorizedScope if the caller lacks one of the scopes that the code has or would have."""
    if beyond := missing_scopes(await call.caller(), scopes):
        named = ", ".join(f'"{scope}"' for scope in beyond)
        raise UnauthorizedScope(
            f"This key lacks scopes that the function's code has or would have: {named}. Use a key that holds them,"
            " leave them out of the function's `scopes`, or sign in as an admin."
        )


async def _require_found(call: Call, lookup: Lookup, *key: str) -> None:
    found = await call.services.reads.look_up(lookup, *key)
    call.seen(found.position)
    await require(call, [scope for row in found.rows for scope in row["scopes"]])

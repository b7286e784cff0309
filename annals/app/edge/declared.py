"""Declarations of operations beside their handlers, in layers: application, controller, handler."""

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple, Protocol, TypedDict

from annals.app.edge.negotiation import ApiVersion
from annals.app.identity.caller import PUBLIC
from annals.app.parameters import Parameters
from annals.app.reads import Lookup

BODY_LIMIT = 2 * 1024 * 1024
"""Most bytes of an ordinary request's body."""


class Reader(Protocol):
    """An operation that another one calls."""

    async def call_with(self, call: Any) -> Any: ...


class Creation(NamedTuple):
    """`read` takes the id of what was created under the parameter `names`; `status` is that of the first answer."""

    read: Reader
    names: str
    status: int = 201


class Declared(TypedDict, total=False):
    """The declaration of an operation. A controller's `opt` declares values for all of its operations.

    `parameters` is its table, or makes it from the call where the API version or settings matter. `translate` is what
    negotiation does to the parameters sent. `needs_project` is judged after the scope. `prefetch` is looked up by
    project and function together with the caller. `as_of` says that the handler also answers from past states.
    `code_scopes` raises UnauthorizedScope before the handler if the operation changes code that has scopes which the
    caller lacks. `creates` says how a create operation is carried out once for each idempotency key.
    """

    scopes: frozenset[str] | Callable[[ApiVersion], frozenset[str]]
    parameters: Parameters | Callable[[Any], Parameters]
    translate: Callable[[dict[str, Any], Any], dict[str, Any]] | None
    needs_project: bool
    body_limit: int
    reads_body_itself: bool
    prefetch: Lookup | None
    as_of: bool
    code_scopes: Callable[[Any], Awaitable[None]] | None
    creates: Creation | None


DEFAULTS: Declared = {
    "scopes": PUBLIC,
    "parameters": Parameters(),
    "translate": None,
    "needs_project": True,
    "body_limit": BODY_LIMIT,
    "reads_body_itself": False,
    "prefetch": None,
    "as_of": False,
    "code_scopes": None,
    "creates": None,
}
"""The outermost layer: values for operations whose controller and handler declare no others."""

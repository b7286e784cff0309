"""The input of a call that runs later, its body and all its headers: a sealed content, since it carries secrets."""

import base64

import msgspec

from annals.store.content.contents import Content
from annals.store.secrets.vault import Vault, key_of

KIND = "input"
"""The kind of the content; it belongs to the version of the execution's `Requested`."""


class Input(msgspec.Struct, frozen=True, kw_only=True):
    """`headers` are the caller's, in order; `client_ip` is empty for schedules and events.

    `depth` counts the triggered calls that led to the call. `token_session` is the session that the code's token for
    the user is bound to: empty for a token without a session, None for no token. `user_incarnation` is the position of
    the user's creation, 0 for no user.
    """

    body: bytes = b""
    headers: list[tuple[str, str]] = []
    client_ip: str = ""
    depth: int = 0
    token_session: str | None = None
    user_incarnation: int = 0


NOTHING = Input()
"""The input of a scheduled call."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Input).decode


async def seal_input(vault: Vault, project_id: str, stream: str, given: Input) -> Content:
    """Return the content to append with the request, whose event records its `digest_and_size`."""
    packed = base64.b64encode(_encode(given)).decode("ascii")
    sealed = await vault.seal(project_id, stream, KIND, packed)
    return Content(stream, KIND, sealed.encode("ascii"), key_id=key_of(sealed))


def digest_and_size(content: Content) -> tuple[str, int]:
    """Return `input_digest` and `input_size` of a request."""
    return content.digest, content.size


async def open_input(vault: Vault, project_id: str, stream: str, sealed: bytes) -> Input:
    """Return a call's input from its content. Raises SealBroken, DataKeyDeleted, StoreUnavailable."""
    return _decode(base64.b64decode(await vault.open(project_id, stream, KIND, sealed.decode("ascii"))))

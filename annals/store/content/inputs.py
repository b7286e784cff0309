"""What a call that runs later was given, its body and all its headers: a sealed content, for they carry secrets."""

import base64

import msgspec

from annals.store.content.contents import Content
from annals.store.secrets.vault import Vault, key_of

KIND = "input"
"""The kind of the content; it belongs to the version of the execution's `Requested`."""


class Input(msgspec.Struct, frozen=True, kw_only=True):
    """`headers` are all that the caller sent, in their order; `client_ip` is empty for schedules and events.

    `depth` counts the triggers that led to the call, each by what the former's code did.
    `token_session` is the session that the code's token for the user is bound to, empty for none; None: no token.
    `user_incarnation` is the position of the user's creation, 0 for no user.
    """

    body: bytes = b""
    headers: list[tuple[str, str]] = []
    client_ip: str = ""
    depth: int = 0
    token_session: str | None = None
    user_incarnation: int = 0


NOTHING = Input()
"""What a firing of a schedule is given."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Input).decode


async def seal_input(vault: Vault, project_id: str, stream: str, given: Input) -> Content:
    """The content to append with the request. Its digest and length belong into the event: see `input_facts`."""
    packed = base64.b64encode(_encode(given)).decode("ascii")
    sealed = await vault.seal(project_id, stream, KIND, packed)
    return Content(stream, KIND, sealed.encode("ascii"), key_id=key_of(sealed))


def digest_and_size(content: Content) -> tuple[str, int]:
    """`input_digest` and `input_size` of a request."""
    return content.digest, content.size


async def open_input(vault: Vault, project_id: str, stream: str, sealed: bytes) -> Input:
    """What a call was given, from its content. Raises SealBroken, DataKeyDeleted, StoreUnavailable."""
    return _decode(base64.b64decode(await vault.open(project_id, stream, KIND, sealed.decode("ascii"))))

"""Opens sessions and makes user tokens. Their secrets are only in the answer that creates them."""

import secrets
from datetime import timedelta
from typing import Any, NamedTuple

import msgspec

from annals.app.edge.call import Call
from annals.app.identity import presented
from annals.app.identity.secret_keys import digest
from annals.domain.commands.users import open_session
from annals.domain.project import CONSOLE
from annals.domain.user import Provider, Session, User
from annals.store.ids import generate_id
from annals.store.secrets.tokens import user_token

DURATION = timedelta(days=365)
MOST_SECONDS_OF_TOKEN = 3600
SECONDS_OF_TOKEN = 900


class Opened(NamedTuple):
    """A new session's row, and the text that its owner sends with requests."""

    row: dict[str, Any]
    presented: str


async def open_for(call: Call, user_id: str, provider: Provider) -> Opened:
    """Open a session for a user. Raises UserNotFound."""
    secret = secrets.token_hex(32)
    session = Session(
        session_id=generate_id(),
        digest=digest(secret),
        provider=provider,
        expires_at=call.services.now() + DURATION,
        ip=call.address,
    )
    key = User.key(call.realm, user_id)
    meta = await call.meta()
    if provider == "email":  # the password identified the user
        meta = msgspec.structs.replace(meta, actor=f"{'admin' if call.realm == CONSOLE else 'user'}:{user_id}")
    recorded = await call.services.log.run(open_session, key, meta=meta, session=session)
    call.seen(recorded.position)
    return Opened(recorded.rows["sessions"][0], presented.as_text(user_id, secret))


class TokenOwner(NamedTuple):
    """A user, the position of its creation, and the session that a token depends on, or an empty text."""

    user_id: str
    incarnation: int
    session_id: str


async def token_for(call: Call, owner: TokenOwner, seconds: int) -> str:
    """Return a user's token that is valid for some seconds, or until its session ends if that is sooner."""
    secret, expires = await call.services.token_secret(call.realm), call.services.now().timestamp() + seconds
    return user_token(owner.user_id, owner.session_id, incarnation=owner.incarnation, expires=expires, secret=secret)

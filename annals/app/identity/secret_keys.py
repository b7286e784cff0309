"""Makes API keys. The log keeps the digest of the secret, and only one answer shows the secret."""

import hashlib
import secrets
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from annals.domain.project import ApiKey
from annals.store.ids import generate_id


class Made(NamedTuple):
    """A key and its secret."""

    key: ApiKey
    secret: str


def make_key(name: str, scopes: Sequence[str], expires_at: datetime | None = None) -> Made:
    """Return a standard key with a new secret of 32 random bytes in hex."""
    secret = f"standard_{secrets.token_hex(32)}"
    digest = hashlib.sha256(secret.encode()).hexdigest()
    return Made(ApiKey(key_id=generate_id(), name=name, digest=digest, scopes=[*scopes], expires_at=expires_at), secret)

"""API keys, and digests of secrets. The log keeps the digest of a secret, and only one answer shows the secret."""

import hashlib
import secrets
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from annals.domain.project import ApiKey
from annals.store.ids import generate_id


def digest(secret: str) -> str:
    """Return the digest by which a standard key or a session is looked up."""
    return hashlib.sha256(secret.encode()).hexdigest()


class Made(NamedTuple):
    """A key and its secret."""

    key: ApiKey
    secret: str


def make_key(name: str, scopes: Sequence[str], expires_at: datetime | None = None) -> Made:
    """Return a standard key with a new secret of 32 random bytes in hex."""
    secret = f"standard_{secrets.token_hex(32)}"
    key = ApiKey(key_id=generate_id(), name=name, digest=digest(secret), scopes=[*scopes], expires_at=expires_at)
    return Made(key, secret)

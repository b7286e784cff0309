"""Generated ids: 20 lowercase hex characters, 13 of the microsecond clock and 7 random (http-api.md 2)."""

import secrets
import time


def generate_id() -> str:
    """Return a new id. Later ids sort later, except within one microsecond."""
    return f"{time.time_ns() // 1000:013x}{secrets.randbits(28):07x}"

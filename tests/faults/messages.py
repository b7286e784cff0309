"""Helpers that count and duplicate the job messages in the queue."""

import json
import random
from typing import Any

import redis

from annals.workers.job_messages import BUILDS, CLEANUP, EXECUTIONS, TENANT_QUEUED

TIMES = 3


def queued(direct: "redis.Redis", queue: str) -> int:
    """Return the number of job messages in a queue, over all tenant queues if it has some."""
    if queue in TENANT_QUEUED:
        return sum(int(direct.llen(tenant)) for tenant in direct.scan_iter(f"annals:{queue}.lane:*"))
    return int(direct.llen(f"annals:{queue}"))


def multiply(direct: "redis.Redis") -> None:
    """Put every message into its queue three times, in random order."""
    for tenant in direct.scan_iter(f"annals:{EXECUTIONS}.lane:*"):
        messages: list[Any] = direct.lrange(tenant, 0, -1)
        _shuffled(direct, tenant, messages * TIMES)
    for queue in (BUILDS, CLEANUP):
        key = f"annals:{queue}"
        ids: list[Any] = direct.lrange(key, 0, -1)
        _shuffled(direct, key.encode(), ids + [_copy(direct, key, own_id) for own_id in ids * (TIMES - 1)])


def _copy(direct: "redis.Redis", key: str, own_id: bytes) -> bytes:
    """Store a copy of a message under a new id, as a repeated send does, and return the id."""
    encoded = direct.hget(f"{key}.msgs", own_id.decode())
    assert isinstance(encoded, bytes)
    message = json.loads(encoded)
    again = f"{own_id.decode()}-{random.randbytes(6).hex()}"
    message["options"]["redis_message_id"] = again
    direct.hset(f"{key}.msgs", again, json.dumps(message))
    return again.encode()


def _shuffled(direct: "redis.Redis", key: bytes, entries: list[bytes]) -> None:
    random.shuffle(entries)
    with direct.pipeline(transaction=True) as pipe:
        pipe.delete(key)
        pipe.rpush(key, *entries)
        pipe.execute()

"""A job queue in Redis with one queue for each project, from which consumers take messages round robin.

So one project's flood does not delay other projects. A project's queue is a list of messages. The ring is a list of
the projects with messages. Scripts change both together.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import redis

_PUSH = """
local length = redis.call(ARGV[2], KEYS[2], unpack(ARGV, 3))
if length == #ARGV - 2 then
    redis.call('RPUSH', KEYS[1], ARGV[1])
end
return length
"""
"""Keys: ring, the project's list. Arguments: project, command, messages. A list that was empty joins the ring's end."""

_TAKE = """
local wanted, most = tonumber(ARGV[2]), tonumber(ARGV[3])
local allowed = {}
for i = 4, #ARGV, 2 do allowed[ARGV[i]] = tonumber(ARGV[i + 1]) end
local found, passed = {}, 0
local tenants = redis.call('LLEN', KEYS[1])
while #found < 2 * wanted and passed < tenants do
    local tenant = redis.call('LPOP', KEYS[1])
    local list, left = ARGV[1] .. tenant, allowed[tenant] or most
    if left > 0 then
        found[#found + 1] = tenant
        found[#found + 1] = redis.call('LPOP', list)
        allowed[tenant], passed = left - 1, 0
    else
        passed = passed + 1
    end
    if redis.call('LLEN', list) > 0 then
        redis.call('RPUSH', KEYS[1], tenant)
    else
        tenants = tenants - 1
    end
end
return found
"""
"""Key: ring. Arguments: the lists' prefix, most messages, most of a project, and pairs of project and its own most."""


class Taken(NamedTuple):
    """A message, and the project that it belongs to."""

    tenant: str
    message: bytes


class TenantQueues:
    """One job queue; `key` is the prefix of its keys. Errors of Redis pass through."""

    def __init__(self, client: "redis.Redis", key: str) -> None:
        self._client, self._ring, self._prefix = client, f"{key}.ring", f"{key}.lane:"
        self._take = client.register_script(_TAKE)

    def push(self, pipe: Any, tenant: str, messages: Sequence[bytes]) -> None:
        """Add messages to a project's queue, as a part of a pipeline.

        The pipeline carries the script's text: calling it by digest would need a further round trip.
        """
        pipe.eval(_PUSH, 2, self._ring, self._prefix + tenant, tenant, "RPUSH", *messages)

    def give_back(self, taken: Sequence[Taken]) -> None:
        """Put taken messages back at the front."""
        with self._client.pipeline(transaction=False) as pipe:
            for tenant, message in reversed(taken):
                pipe.eval(_PUSH, 2, self._ring, self._prefix + tenant, tenant, "LPUSH", message)
            pipe.execute()

    def take(self, count: int, *, most: int, allowed: Mapping[str, int]) -> list[Taken]:
        """Take up to `count` messages, one of each project in turn.

        A project gets up to `most`, or the number that `allowed` has for it.
        """
        pairs = [part for tenant, left in allowed.items() for part in (tenant, left)]
        found: Any = self._take(keys=[self._ring], args=[self._prefix, count, most, *pairs])
        return [Taken(tenant.decode(), message) for tenant, message in zip(found[::2], found[1::2], strict=True)]

    def length(self, tenant: str) -> int:
        """Return how many messages of a project wait."""
        return int(self._client.llen(self._prefix + tenant))

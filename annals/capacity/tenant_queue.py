"""A queue in lanes, one a project, from which consumers take one of each in turn: a crowd of one holds up no other.

In Redis a lane is a list of messages, and the ring a list of the lanes that hold any. Scripts keep the two together.
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
"""Ring, lane's list; lane, command, messages. A lane that was empty joins the ring, behind the others."""

_TAKE = """
local room, most = tonumber(ARGV[2]), tonumber(ARGV[3])
local allowed = {}
for i = 4, #ARGV, 2 do allowed[ARGV[i]] = tonumber(ARGV[i + 1]) end
local found, passed = {}, 0
local lanes = redis.call('LLEN', KEYS[1])
while #found < 2 * room and passed < lanes do
    local lane = redis.call('LPOP', KEYS[1])
    local list, left = ARGV[1] .. lane, allowed[lane] or most
    if left > 0 then
        found[#found + 1] = lane
        found[#found + 1] = redis.call('LPOP', list)
        allowed[lane], passed = left - 1, 0
    else
        passed = passed + 1
    end
    if redis.call('LLEN', list) > 0 then
        redis.call('RPUSH', KEYS[1], lane)
    else
        lanes = lanes - 1
    end
end
return found
"""
"""Ring; the lists' prefix, how many at most, how many of a lane, and of some lanes how many instead."""


class Taken(NamedTuple):
    """A message, and the lane it came from."""

    tenant: str
    message: bytes


class TenantQueues:
    """One queue; `key` is what its keys begin with. Redis' errors pass through."""

    def __init__(self, client: "redis.Redis", key: str) -> None:
        self._client, self._ring, self._prefix = client, f"{key}.ring", f"{key}.lane:"
        self._take = client.register_script(_TAKE)

    def push(self, pipe: Any, tenant: str, messages: Sequence[bytes]) -> None:
        """Put messages at a lane's end, as a part of a pipeline.

        The script goes along: by its digest, each pipeline would first ask in a trip of its own whether it is known.
        """
        pipe.eval(_PUSH, 2, self._ring, self._prefix + tenant, tenant, "RPUSH", *messages)

    def give_back(self, taken: Sequence[Taken]) -> None:
        """Put back at the front what was taken last."""
        with self._client.pipeline(transaction=False) as pipe:
            for tenant, message in reversed(taken):
                pipe.eval(_PUSH, 2, self._ring, self._prefix + tenant, tenant, "LPUSH", message)
            pipe.execute()

    def take(self, room: int, *, most: int, allowed: Mapping[str, int]) -> list[Taken]:
        """Up to `room` messages, one of each lane in turn, `most` of a lane unless it is `allowed` another number."""
        pairs = [part for tenant, left in allowed.items() for part in (tenant, left)]
        found: Any = self._take(keys=[self._ring], args=[self._prefix, room, most, *pairs])
        return [Taken(tenant.decode(), message) for tenant, message in zip(found[::2], found[1::2], strict=True)]

    def length(self, tenant: str) -> int:
        """How many messages a lane holds."""
        return int(self._client.llen(self._prefix + tenant))

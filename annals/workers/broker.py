"""Dramatiq's broker on Redis or Valkey, for job messages.

A published notification ends a consumer's wait. So an idle worker polls twice a second instead of hundreds of times,
and still starts within a millisecond. Losing Redis loses no work. A consumer waits until Redis is back, a failed
acknowledgement is dropped (a repeat is harmless), and the keeper sends lost job messages again.

A tenant queue is one queue for each project, from which consumers take messages round robin. So one project's flood
does not delay other projects. A project's queue is a list of messages. The ring is a list of the projects with
messages. Scripts change both together.

One file because the broker and its consumers alone read and write these keys in Redis.
"""

import itertools
import secrets
import time
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import dramatiq
import redis
import structlog
from dramatiq.broker import Consumer, MessageProxy
from dramatiq.brokers.redis import RedisBroker
from redis.exceptions import RedisError

from annals.capacity.limiter import WorkerLimiter
from annals.workers.job_messages import QUEUE_OF, TENANT_QUEUED, JobMessage, split_stream

PREFETCH = 64
_PAUSE_SECONDS = 0.25
_ENQUEUE_BATCH = 500
_AT_LIMIT_SECONDS = 0.005
"""How long a consumer lets freed slots gather while a tenant is at its limit: no notification announces them."""

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

log = structlog.get_logger(__name__)


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


class QueueUnavailable(Exception):
    """Redis does not answer, so a message was not sent."""


class JobMessageBroker(RedisBroker):
    """Sends and fetches job messages. `limiters` bound each queue's consumer; other queues are not consumed here."""

    def __init__(self, url: str, limiters: Mapping[str, WorkerLimiter] | None = None) -> None:
        pool = redis.ConnectionPool.from_url(
            url, socket_connect_timeout=2, socket_timeout=5, health_check_interval=30, max_connections=32
        )
        super().__init__(  # type: ignore[no-untyped-call] # the library has no types here
            client=redis.Redis(connection_pool=pool), middleware=[], namespace="annals"
        )
        self.limiters = limiters or {}
        self._prefix = secrets.token_hex(6)
        self._numbers = itertools.count()
        self.tenant_queues = {queue: TenantQueues(self.client, f"{self.namespace}:{queue}") for queue in TENANT_QUEUED}

    def declare_queue(self, queue_name: str) -> None:
        """Declare a queue without its delay queue: the keeper handles delays."""
        if queue_name not in self.queues:
            self.emit_before("declare_queue", queue_name)
            self.queues.add(queue_name)
            self.emit_after("declare_queue", queue_name)

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 500) -> "NotifiedConsumer":  # noqa: ARG002
        """Return the consumer of Dramatiq's threads; its limiter replaces `prefetch`."""
        return NotifiedConsumer(self, queue_name, self.limiters[queue_name], timeout / 1000)

    def wake(self, job_messages: Iterable[JobMessage]) -> int:
        """Send job messages in order, notify workers, and return the count. Raises QueueUnavailable, with some sent."""
        messages = [self._message(w) for w in job_messages]
        try:
            for first in range(0, len(messages), _ENQUEUE_BATCH):
                self._push(messages[first : first + _ENQUEUE_BATCH])
        except RedisError as error:
            raise QueueUnavailable(str(error)) from error
        return len(messages)

    def queued(self, queue_name: str, tenant: str = "") -> int:
        """Return how many job messages wait, of one project in a queue by tenants. Raises QueueUnavailable."""
        try:
            if queue_name in self.tenant_queues:
                return self.tenant_queues[queue_name].length(tenant)
            return int(self.client.llen(f"{self.namespace}:{queue_name}"))
        except RedisError as error:
            raise QueueUnavailable(str(error)) from error

    def _message(self, job_message: JobMessage) -> dramatiq.Message[Any]:
        return dramatiq.Message(
            queue_name=QUEUE_OF[job_message.actor],
            actor_name=job_message.actor,
            args=(job_message.stream, *job_message.cause),
            kwargs={},
            options={"redis_message_id": f"{self._prefix}{next(self._numbers):x}"},
            message_id=f"{job_message.cause.position}-{job_message.actor}",
        )

    def _push(self, messages: list[dramatiq.Message[Any]]) -> None:
        """Do in one pipeline what the library's own enqueue does to the list and hash of each queue.

        A tenant queue holds whole messages without acknowledgements: the keeper finds those that died with a worker.
        """
        tenant_queued: defaultdict[tuple[str, str], list[bytes]] = defaultdict(list)
        with self.client.pipeline(transaction=True) as pipe:
            for message in messages:
                if message.queue_name in self.tenant_queues:
                    tenant_queued[message.queue_name, _tenant(message)].append(message.encode())
                    continue
                key, own_id = f"{self.namespace}:{message.queue_name}", message.options["redis_message_id"]
                pipe.hset(f"{key}.msgs", own_id, message.encode())
                pipe.rpush(key, own_id)
            for (queue, tenant), encoded in tenant_queued.items():
                self.tenant_queues[queue].push(pipe, tenant, encoded)
            for queue in {m.queue_name for m in messages}:
                pipe.publish(self.notification(queue), b"")
            pipe.execute()

    def notification(self, queue_name: str) -> str:
        return f"{self.namespace}:{queue_name}.bell"


class NotifiedConsumer(Consumer):
    """Fetches as many job messages as the limiter allows, and sleeps until a notification."""

    def __init__(self, broker: JobMessageBroker, queue_name: str, limiter: WorkerLimiter, wait_seconds: float) -> None:
        self._broker = broker
        self._queue = queue_name
        self._limiter = limiter
        self._wait = wait_seconds
        self._tenants = broker.tenant_queues.get(queue_name)
        self._fetched: deque[Taken] = deque()
        self._notification = broker.client.pubsub(ignore_subscribe_messages=True)
        self._listening = self._away = False

    def __next__(self) -> MessageProxy | None:
        try:
            if not self._fetched and not self._fetch():
                return None
        except RedisError as error:
            if not self._away:  # logged once an outage
                log.warning("queue_unreachable", queue=self._queue, error=str(error))
            self._away, self._listening = True, False
            time.sleep(_PAUSE_SECONDS)
            return None
        return MessageProxy(dramatiq.Message.decode(self._fetched.popleft().message))

    def ack(self, message: MessageProxy) -> None:
        """Forget a job message that was handed on; after a failure it comes again, which is harmless."""
        if self._tenants is not None:
            return
        try:
            self._broker.do_ack(self._queue, message.options["redis_message_id"])
        except RedisError as error:
            log.warning("wake_up_not_acknowledged", queue=self._queue, error=str(error))

    def nack(self, message: MessageProxy) -> None:
        """Release a message that was not handed on, as for an actor of a later version; redelivery sends it again."""
        self.ack(message)
        self._limiter.release(tenant=_tenant(message))

    def requeue(self, messages: Iterable[MessageProxy]) -> None:
        """Give back messages that were fetched but not handed on."""
        if self._tenants is not None:
            self._give_back([Taken(_tenant(m), m.encode()) for m in messages])
            return
        ids = [m.options["redis_message_id"] for m in messages]
        try:
            if ids:
                self._broker.do_requeue(self._queue, *ids)
        except RedisError as error:
            log.warning("wake_ups_not_given_back", queue=self._queue, error=str(error))

    def close(self) -> None:
        self.requeue(MessageProxy(dramatiq.Message.decode(taken.message)) for taken in self._fetched)
        self._fetched.clear()
        self._notification.close()

    def _give_back(self, taken: Sequence[Taken]) -> None:
        try:
            if self._tenants is not None:
                self._tenants.give_back(taken)
        except RedisError as error:
            log.warning("wake_ups_not_given_back", queue=self._queue, error=str(error))

    def _take(self, free: int) -> list[Taken]:
        if self._tenants is None:
            return [Taken("", data) for data in self._broker.do_fetch(self._queue, free) if data]
        found = self._tenants.take(free, most=self._limiter.tenant_limit, allowed=self._limiter.allowed())
        for tenant, _ in found:
            self._limiter.occupy(tenant)
        return found

    def _fetch(self) -> bool:
        if not self._listening:
            self._notification.subscribe(self._broker.notification(self._queue))
            self._listening = True
        if self._away:
            self._broker.client.ping()
            log.info("queue_reachable_again", queue=self._queue)
            self._away = False
        free = self._limiter.reserve(PREFETCH, self._wait)
        if not free:
            return False
        found: list[Taken] = []
        released, at_limit = self._limiter.released, self._limiter.at_limit
        try:
            found = self._take(free)
        finally:
            self._limiter.release(free - len(found))
        self._fetched.extend(found)
        self._limiter.drained = not found
        if not found:
            self._await_notification(released if at_limit else None)
        return bool(found)

    def _await_notification(self, released: int | None) -> None:
        """Wait for a notification; one that came during the fetch ends the wait at once.

        If a tenant was at its limit, a freed slot ends the wait too: `released` is the count at the time of the fetch.
        """
        deadline = time.monotonic() + self._wait
        message = None
        while message is None and (left := deadline - time.monotonic()) > 0:
            message = self._notification.get_message(timeout=left if released is None else min(left, _AT_LIMIT_SECONDS))
            if released is not None and self._limiter.released != released:
                break
        while message is not None:
            message = self._notification.get_message(timeout=0)


def _tenant(message: "dramatiq.Message[Any] | MessageProxy") -> str:
    return split_stream(message.args[0])[0]

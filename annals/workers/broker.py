"""Dramatiq's broker on Redis or Valkey, for job messages.

A published notification ends a consumer's wait. So an idle worker polls twice a second instead of hundreds of times,
and still starts within a millisecond. Losing Redis loses no work. A consumer waits until Redis is back, a failed
acknowledgement is dropped (a repeat is harmless), and the keeper sends lost job messages again.
"""

import itertools
import secrets
import time
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import dramatiq
import redis
import structlog
from dramatiq.broker import Consumer, MessageProxy
from dramatiq.brokers.redis import RedisBroker
from redis.exceptions import RedisError

from annals.capacity.limiter import WorkerLimiter
from annals.capacity.tenant_queue import Taken, TenantQueues
from annals.workers.job_messages import QUEUE_OF, TENANT_QUEUED, JobMessage, split_stream

PREFETCH = 64
_PAUSE_SECONDS = 0.25
_ENQUEUE_BATCH = 500
_AT_LIMIT_SECONDS = 0.005
"""How long a consumer lets freed slots gather while a tenant is at its limit: no notification announces them."""

log = structlog.get_logger(__name__)


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

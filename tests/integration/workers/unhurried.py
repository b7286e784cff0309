"""Workers that poll only after minutes, so that a notification caused all that happens sooner."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from annals.workers.broker import JobMessageBroker, NotifiedConsumer
from annals.workers.job_messages import BUILDS, CLEANUP, EXECUTIONS

LOOK_SECONDS = 600


class UnhurriedBroker(JobMessageBroker):
    """A broker whose consumers sleep until a notification, far longer than a test waits."""

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 0) -> NotifiedConsumer:
        return super().consume(queue_name, prefetch, LOOK_SECONDS * 1000)


async def rung_to_its_end(ending: Coroutine[Any, Any, None], url: str) -> None:
    """Notify all queues until a worker has ended: its threads stop once they wake up."""
    broker, task = JobMessageBroker(url), asyncio.ensure_future(ending)
    while not task.done():
        for queue in (EXECUTIONS, BUILDS, CLEANUP):
            broker.client.publish(broker.notification(queue), b"")
        await asyncio.sleep(0.02)
    await task

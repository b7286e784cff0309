"""Workers that look for themselves only after minutes: what happens sooner, a bell or a notification has caused."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from annals.workers.broker import BellConsumer, WakeUpBroker
from annals.workers.job_messages import BUILDS, CHORES, EXECUTIONS

LOOK_SECONDS = 600


class PatientBroker(WakeUpBroker):
    """Its consumers sleep until the bell rings, far longer than a test waits."""

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 0) -> BellConsumer:
        return super().consume(queue_name, prefetch, LOOK_SECONDS * 1000)


async def rung_to_its_end(ending: Coroutine[Any, Any, None], url: str) -> None:
    """Ring all bells until a worker has ended: its threads see that they are to stop once they look."""
    broker, task = WakeUpBroker(url), asyncio.ensure_future(ending)
    while not task.done():
        for queue in (EXECUTIONS, BUILDS, CHORES):
            broker.client.publish(broker.bell(queue), b"")
        await asyncio.sleep(0.02)
    await task

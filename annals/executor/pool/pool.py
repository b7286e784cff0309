"""The pool of instances: assigns them to calls, starts more of them, and ends idle ones.

Decisions depend on requests in flight, never on time alone: a busy instance is not idle, and N first calls at once
start as many instances as they fill, not N.

One file because every decision reads and changes the same groups.
"""

import asyncio
import math
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from typing import Any

import structlog

from annals.domain.ports import Run
from annals.executor.config import ExecutorConfig
from annals.executor.drivers.port import Driver
from annals.executor.errors import NoneFree, StartFailed
from annals.executor.pool.code import CodeCache
from annals.executor.pool.group import InstanceGroup, Key, key_of
from annals.executor.pool.instance import Instance, Why
from annals.executor.pool.restarts import Restarts
from annals.executor.pool.starter import Starter

log = structlog.get_logger()

SUPERSEDED_SECONDS = 2.0
LOOK_SECONDS = 0.5
HESITATE_SECONDS = 0.05
Ended = Callable[[Key, Instance, Why], None]


class Pool:
    """All instances of this executor. Single-threaded: every method runs on the event loop."""

    def __init__(
        self,
        config: ExecutorConfig,
        driver: Driver,
        code: CodeCache,
        ended: Ended | None = None,
        restarts: Restarts | None = None,
    ) -> None:
        """`ended` is called with each instance that is retired, and the reason."""
        self._ended = ended
        self._config = config
        self._code = code
        self._starter = Starter(config, driver, code)
        self._groups: dict[Key, InstanceGroup] = {}
        self._restarts = restarts or Restarts()
        self._stopping: set[asyncio.Task[None]] = set()
        self._keeper: asyncio.Task[None] | None = None
        self._digests: dict[tuple[str, str], str] = {}

    def open(self) -> None:
        self._starter.open()
        self._keeper = asyncio.create_task(self._keep())

    async def close(self) -> None:
        """End every instance, also busy ones."""
        if self._keeper:
            self._keeper.cancel()
        for key, group in tuple(self._groups.items()):
            group.abandon(StartFailed(Why.STOPPING))
            for instance in tuple(group.ready):
                self._end(key, instance, Why.STOPPING, grace=0.0)
        starting = [task for group in self._groups.values() for task in group.starting]
        await asyncio.gather(*starting, *self._stopping, self._starter.close(), return_exceptions=True)

    async def acquire(self, run: Run) -> tuple[Instance, bool]:
        """Return an instance with a slot for this run, and True if the run waited for a start; end with `release`.

        Raises StartFailed (EngineAway among them), RuntimeUnavailable, CodeMissing, BadArchive, BlobError, OSError or
        NoneFree.
        """
        key = key_of(run)
        group = self._group(key, run)
        if not group.waiting and (instance := group.free()):
            instance.enter()
            return instance, False
        self._supersede(key)
        slot = group.ask()
        self._grow(key, group)
        cold = bool(group.starting or self._restarts.wait(key))
        try:
            async with asyncio.timeout(run.start_seconds):
                return await slot, cold
        except TimeoutError:
            group.forgo(slot)
            raise NoneFree(f"No instance was ready within {run.start_seconds:g} seconds.") from None
        except asyncio.CancelledError:
            group.forgo(slot)
            raise

    def prewarm(self, run: Run, instances: int, seconds: float) -> int:
        """Start instances until there are `instances`, and keep them for some seconds; return how many there are."""
        key = key_of(run)
        group = self._group(key, run)
        group.keep(instances, seconds)
        if instances:
            self._supersede(key)
        while group.size < instances and self._may_grow(key, group):
            self._begin(key, group)
        return group.size

    def expect(self, runtime: str) -> None:
        """Start idle instances of a runtime whose functions will be called."""
        self._starter.idle_pool.expect(runtime)

    def _group(self, key: Key, run: Run) -> InstanceGroup:
        """Return the group of a run, and apply the run's settings for scaling."""
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = InstanceGroup(run)
        elif (group.run.max_instances, group.run.idle_seconds) != (run.max_instances, run.idle_seconds):
            group.follow(run)
        return group

    def release(self, run: Run, instance: Instance) -> None:
        """Give a slot back; the next waiting call gets it."""
        instance.leave()
        if group := self._groups.get(key_of(run)):
            if not instance.retired:
                group.concurrency = instance.concurrency
            group.hand_out()

    def answered(self, run: Run, instance: Instance) -> None:
        """Give an instance equal processor time again, now that it has answered a call."""
        if instance.deferred:
            self._restarts.trust(key_of(run))
            instance.defer(deferred=False)

    def retire(self, run: Run, instance: Instance, why: Why) -> None:
        """Send no more requests to an instance, and kill it after its requests have finished or their grace is over."""
        if not instance.retired:
            self._end(key_of(run), instance, why)

    def find(self, run: Run) -> Instance | None:
        """Return an instance that is ready for a run, or None."""
        group = self._groups.get(key_of(run))
        return next(iter(group.ready), None) if group else None

    async def retire_deployment(self, project: str, deployment: str) -> None:
        """End a deployment's instances after their requests, and drop their code."""
        for key, instance in tuple(self._instances()):
            if key[:2] == (project, deployment):
                self._end(key, instance, Why.GONE, grace=math.inf)
        if digest := self._digests.pop((project, deployment), ""):
            await self._code.drop(digest)

    async def remove(self, run: Run) -> None:
        """End all instances for a run, also busy and starting ones, and wait for their end."""
        key = key_of(run)
        if group := self._groups.get(key):
            group.abandon(StartFailed(Why.GONE))
            ending = [self._end(key, instance, Why.GONE, grace=0.0) for instance in tuple(group.ready)]
            await asyncio.gather(*group.starting, *ending, return_exceptions=True)

    def describe(self) -> dict[str, int]:
        """Return counts for status displays."""
        groups = self._groups.values()
        return {
            "instances": sum(len(group.ready) for group in groups),
            "starting": sum(len(group.starting) for group in groups),
            "in_flight": sum(instance.in_flight for group in groups for instance in group.ready),
            "waiting": sum(len(group.waiting) for group in groups),
            "idle": len(self._starter.idle_pool),
        }

    def _supersede(self, key: Key) -> None:
        """Mark instances of a deployment with another environment as superseded: they end when they become idle."""
        for other, group in self._groups.items():
            if other != key and other[:2] == key[:2]:
                for instance in group.ready:
                    instance.superseded = True
        for instance in self._groups[key].ready:
            instance.superseded = False

    def _grow(self, key: Key, group: InstanceGroup) -> None:
        """Start as many instances as the waiting calls fill, within the limits of function and host.

        If there are instances already, wait a moment first: most queues become empty before another one has started.
        """
        if group.ready:
            self._hesitate(key, group, HESITATE_SECONDS)
            return
        coming = len(group.starting) * group.each
        while len(group.waiting) > coming and self._may_grow(key, group):
            self._begin(key, group)
            coming += group.each

    def _hesitate(self, key: Key, group: InstanceGroup, seconds: float) -> None:
        if not group.hesitating:
            group.hesitating = asyncio.get_running_loop().call_later(seconds, self._add_one, key, group)

    def _add_one(self, key: Key, group: InstanceGroup) -> None:
        """Start one more instance if the first call of the queue has waited for long; a moving queue needs none."""
        group.hesitating = None
        if not group.waiting or group.starting:
            return
        left = HESITATE_SECONDS - (time.monotonic() - group.waiting[0].since)
        if left > 0:
            self._hesitate(key, group, left)
        elif self._may_grow(key, group):
            self._begin(key, group)

    def _begin(self, key: Key, group: InstanceGroup) -> None:
        task = asyncio.create_task(self._start(key, group, group.run))
        group.starting.add(task)
        task.add_done_callback(group.starting.discard)

    def _may_grow(self, key: Key, group: InstanceGroup) -> bool:
        most = self._config.instances_per_function
        if self._restarts.wait(key) or group.size >= min(most, group.run.max_instances or most):
            return False
        return self._count() < self._config.instances or self._evict()

    def _count(self) -> int:
        return sum(group.size for group in self._groups.values())

    def _evict(self) -> bool:
        """End the instance that has been idle for longest; return False if there is none."""
        idle = [(i.used, key, i) for key, i in self._instances() if i.in_flight == 0]
        if not idle:
            return False
        _, key, instance = min(idle, key=lambda item: item[0])
        self._end(key, instance, Why.NEEDED)
        return True

    def _instances(self) -> Iterator[tuple[Key, Instance]]:
        for key, group in self._groups.items():
            for instance in group.ready:
                yield key, instance

    async def _start(self, key: Key, group: InstanceGroup, run: Run) -> None:
        began = time.monotonic()
        try:
            self._digests[run.project, run.deployment] = run.artefact.digest
            instance = await self._starter.start(run)
        except asyncio.CancelledError:
            raise
        except Exception as failure:
            log.info("instance.start_failed", deployment=run.deployment, message=str(failure)[:500])
            if not group.ready:
                group.fail(failure)
            return
        log.debug("instance.started", instance=instance.id, deployment=run.deployment, seconds=time.monotonic() - began)
        if self._restarts.suspected(key):
            instance.defer(deferred=True)
        group.add(instance)
        self._watch(key, instance, run)
        group.hand_out()
        self._refill(key)

    def _watch(self, key: Key, instance: Instance, run: Run) -> None:
        async def watch() -> None:
            await instance.ended()
            if not instance.retired:
                self._end(key, instance, Why.BY_ITSELF)
            if instance.retired in (Why.BY_ITSELF, Why.BROKEN):
                filled_mb = run.limits.memory_mb if instance.exit and instance.exit.out_of_memory else 0
                if wait := self._restarts.count(key, filled_mb):
                    asyncio.get_running_loop().call_later(wait, self._refill, key)

        self._run_beside(watch())

    def _run_beside(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run work of which `close` awaits the end."""
        task = asyncio.create_task(work)
        self._stopping.add(task)
        task.add_done_callback(self._stopping.discard)
        return task

    def _end(self, key: Key, instance: Instance, why: Why, *, grace: float | None = None) -> asyncio.Task[None]:
        instance.retired = why
        if self._ended:
            self._ended(key, instance, why)
        group = self._groups[key]
        if instance in group.ready:
            group.ready.remove(instance)
        return self._run_beside(self._stop(key, instance, self._config.grace_seconds if grace is None else grace))

    async def _stop(self, key: Key, instance: Instance, grace: float) -> None:
        """Wait until the instance's requests have finished or the grace is over, then kill it."""
        with suppress(TimeoutError):
            async with asyncio.timeout(grace if grace < math.inf else None):
                await instance.quiet.wait()
        await self._starter.end(instance)
        if instance.retired is Why.GONE:
            await self._code.drop(instance.digest)
        log.debug("instance.ended", instance=instance.id, why=instance.retired)
        self._refill(key)

    def _refill(self, key: Key) -> None:
        """Start instances for calls that still wait, after one has ended or could not start."""
        group = self._groups.get(key)
        if group and group.waiting:
            self._grow(key, group)

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self._sweep(time.monotonic())

    def _sweep(self, now: float) -> None:
        """End instances that were idle for too long, start instances for waiting calls, and drop empty groups."""
        for key, instance in tuple(self._instances()):
            group = self._groups[key]
            idle_seconds = group.run.idle_seconds or self._config.idle_seconds
            kept = len(group.ready) <= group.wants(now)
            if instance.superseded:
                idle_seconds, kept = SUPERSEDED_SECONDS, False
            if instance.in_flight == 0 and now - instance.used > idle_seconds and not kept:
                self._end(key, instance, Why.IDLE)
        for key, group in tuple(self._groups.items()):
            if not (group.size or group.waiting):
                del self._groups[key]
            else:
                self._refill(key)

"""Warm instances by deployment and environment: who gets which, when one more is started, when one ends.

What counts is requests in flight, never clocks alone: an instance that works is not idle, and N first calls at once
start one instance (or as many as their number asks for), not N.
"""

import asyncio
import math
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import structlog

from annals.domain.ports import Run
from annals.executor.config import ExecutorConfig
from annals.executor.drivers.port import Driver
from annals.executor.errors import NoneFree, StartFailed
from annals.executor.pool.code import CodeCache
from annals.executor.pool.group import Group, Key, key_of
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

    def __init__(self, config: ExecutorConfig, driver: Driver, code: CodeCache, ended: Ended | None = None) -> None:
        """`ended` is told of each instance that takes no more requests, and why."""
        self._ended = ended
        self._config = config
        self._code = code
        self._starter = Starter(config, driver, code)
        self._groups: dict[Key, Group] = {}
        self._restarts = Restarts()
        self._stopping: set[asyncio.Task[None]] = set()
        self._keeper: asyncio.Task[None] | None = None
        self._digests: dict[tuple[str, str], str] = {}

    def open(self) -> None:
        self._starter.open()
        self._keeper = asyncio.create_task(self._keep())

    async def close(self) -> None:
        """End every instance, whatever it does."""
        if self._keeper:
            self._keeper.cancel()
        for key, group in tuple(self._groups.items()):
            group.abandon(StartFailed(Why.STOPPING))
            for instance in tuple(group.ready):
                self._end(key, instance, Why.STOPPING, grace=0.0)
        starting = [task for group in self._groups.values() for task in group.starting]
        await asyncio.gather(*starting, *self._stopping, self._starter.close(), return_exceptions=True)

    async def acquire(self, run: Run) -> tuple[Instance, bool]:
        """A slot on an instance for this run, and whether it had to wait for a start; give it back with `release`.

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
        """Start what is missing of so many instances, and keep them for so long; how many are ready or starting."""
        key = key_of(run)
        group = self._group(key, run)
        group.keep(instances, seconds)
        if instances:
            self._supersede(key)
        while group.size < instances and self._may_grow(key, group):
            self._begin(key, group)
        return group.size

    def expect(self, runtime: str) -> None:
        """Functions of a runtime will be called: have idle instances of it ready."""
        self._starter.reserve.expect(runtime)

    def _group(self, key: Key, run: Run) -> Group:
        """The group of a run, which also says how it is to scale from now on."""
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = Group(run)
        elif (group.run.max_instances, group.run.idle_seconds) != (run.max_instances, run.idle_seconds):
            group.follow(run)
        return group

    def release(self, run: Run, instance: Instance) -> None:
        """Give a slot back; the next one who waits gets it."""
        instance.leave()
        if group := self._groups.get(key_of(run)):
            if not instance.retired:
                group.concurrency = instance.concurrency
            group.hand_out()

    def retire(self, run: Run, instance: Instance, why: Why) -> None:
        """Take no more requests on an instance and kill it, once others on it have finished or had their grace."""
        if not instance.retired:
            self._end(key_of(run), instance, why)

    def find(self, run: Run) -> Instance | None:
        """The instance that would take a run next, if one is ready at all."""
        group = self._groups.get(key_of(run))
        return next(iter(group.ready), None) if group else None

    async def retire_deployment(self, project: str, deployment: str) -> None:
        """Let a deployment's instances finish, then end them, and drop their code."""
        for key, instance in tuple(self._instances()):
            if key[:2] == (project, deployment):
                self._end(key, instance, Why.GONE, grace=math.inf)
        if digest := self._digests.pop((project, deployment), ""):
            await self._code.drop(digest)

    async def remove(self, run: Run) -> None:
        """End the instances that would take a run, whatever they do, also those that start; returns when they have."""
        key = key_of(run)
        if group := self._groups.get(key):
            group.abandon(StartFailed(Why.GONE))
            ending = [self._end(key, instance, Why.GONE, grace=0.0) for instance in tuple(group.ready)]
            await asyncio.gather(*group.starting, *ending, return_exceptions=True)

    def describe(self) -> dict[str, int]:
        """Counts for status displays."""
        groups = self._groups.values()
        return {
            "instances": sum(len(group.ready) for group in groups),
            "starting": sum(len(group.starting) for group in groups),
            "in_flight": sum(instance.in_flight for group in groups for instance in group.ready),
            "waiting": sum(len(group.waiting) for group in groups),
            "idle": len(self._starter.reserve),
        }

    def _supersede(self, key: Key) -> None:
        """A new environment of a deployment is asked for: those with an older one end when they fall idle."""
        for other, group in self._groups.items():
            if other != key and other[:2] == key[:2]:
                for instance in group.ready:
                    instance.superseded = True
        for instance in self._groups[key].ready:
            instance.superseded = False

    def _grow(self, key: Key, group: Group) -> None:
        """Start as many instances as those who wait will fill, within the bounds of function and host.

        Where instances are up already, a queue mostly drains sooner than one more would start: it gets a moment to.
        """
        if group.ready:
            self._hesitate(key, group, HESITATE_SECONDS)
            return
        coming = len(group.starting) * group.each
        while len(group.waiting) > coming and self._may_grow(key, group):
            self._begin(key, group)
            coming += group.each

    def _hesitate(self, key: Key, group: Group, seconds: float) -> None:
        if not group.hesitating:
            group.hesitating = asyncio.get_running_loop().call_later(seconds, self._add_one, key, group)

    def _add_one(self, key: Key, group: Group) -> None:
        """One more where the first in the queue has waited long; a queue that moves is no reason."""
        group.hesitating = None
        if not group.waiting or group.starting:
            return
        left = HESITATE_SECONDS - (time.monotonic() - group.waiting[0].since)
        if left > 0:
            self._hesitate(key, group, left)
        elif self._may_grow(key, group):
            self._begin(key, group)

    def _begin(self, key: Key, group: Group) -> None:
        task = asyncio.create_task(self._start(key, group, group.run))
        group.starting.add(task)
        task.add_done_callback(group.starting.discard)

    def _may_grow(self, key: Key, group: Group) -> bool:
        most = self._config.instances_per_function
        if self._restarts.wait(key) or group.size >= min(most, group.run.max_instances or most):
            return False
        return self._count() < self._config.instances or self._evict()

    def _count(self) -> int:
        return sum(group.size for group in self._groups.values())

    def _evict(self) -> bool:
        """Make room by ending the instance that has been idle longest."""
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

    async def _start(self, key: Key, group: Group, run: Run) -> None:
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
        group.settle(instance)
        self._watch(key, instance)
        group.hand_out()
        self._refill(key)

    def _watch(self, key: Key, instance: Instance) -> None:
        async def watch() -> None:
            await instance.ended()
            if not instance.retired:
                self._end(key, instance, Why.BY_ITSELF)
                if wait := self._restarts.count(key):
                    asyncio.get_running_loop().call_later(wait, self._refill, key)

        task = asyncio.create_task(watch())
        self._stopping.add(task)
        task.add_done_callback(self._stopping.discard)

    def _end(self, key: Key, instance: Instance, why: Why, *, grace: float | None = None) -> asyncio.Task[None]:
        instance.retired = why
        if self._ended:
            self._ended(key, instance, why)
        group = self._groups[key]
        if instance in group.ready:
            group.ready.remove(instance)
        task = asyncio.create_task(self._stop(key, instance, self._config.grace_seconds if grace is None else grace))
        self._stopping.add(task)
        task.add_done_callback(self._stopping.discard)
        return task

    async def _stop(self, key: Key, instance: Instance, grace: float) -> None:
        """Others on the same instance have a grace to finish; then it dies with them."""
        with suppress(TimeoutError):
            async with asyncio.timeout(grace if grace < math.inf else None):
                await instance.quiet.wait()
        await self._starter.end(instance)
        if instance.retired is Why.GONE:
            await self._code.drop(instance.digest)
        log.debug("instance.ended", instance=instance.id, why=instance.retired)
        self._refill(key)

    def _refill(self, key: Key) -> None:
        """Somebody may still wait for an instance that could not be started before, or that ended."""
        group = self._groups.get(key)
        if group and group.waiting:
            self._grow(key, group)

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self._sweep(time.monotonic())

    def _sweep(self, now: float) -> None:
        """End what has been idle too long, start what somebody still waits for, forget empty groups."""
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

"""The keeper process: the followers and clocks of the one keeper that leads."""

import asyncio
import functools
from collections.abc import Sequence

from annals.application.process import Process, open_process
from annals.capacity.slots import FreedSlots
from annals.settings import Settings
from annals.store.coordination.idempotency import Idempotency
from annals.store.coordination.pauses import SCHEDULES, Pauses
from annals.store.log.append_modes import FREED_SLOTS
from annals.store.log.tail_cache import TailCache
from annals.store.postgres.listener import Listener
from annals.workers.broker import JobMessageBroker
from annals.workers.clock import Duty, keep, unless_held
from annals.workers.followers import Sealing, followers
from annals.workers.job_messages import RUN_EXECUTION
from annals.workers.keeper import Keeper, Leadership, Work, end
from annals.workers.prewarming import LOOK_SECONDS, PrewarmingSweep
from annals.workers.reaper import Overdue, Reaper
from annals.workers.redelivery import Redelivery, wake
from annals.workers.schedules import Schedules
from annals.workers.wiring import CONNECTIONS, Tell, blob_garbage, retention, until

OVERDUE_SECONDS = 90
"""How long an execution may be `processing` beyond its start budget and its function's timeout."""


async def serve_keeper(settings: Settings, *, stopping: asyncio.Event, tell: Tell) -> None:
    """Lead or stand by until it is `stopping`."""
    keeper: Keeper | None = None

    def doing() -> str:
        return "leads" if keeper is not None and keeper.active else "stands by"

    async with (
        open_process(settings, "keeper", connections=CONNECTIONS, doing=doing) as process,
        Listener.open(process.database) as listener,
        Listener.open(process.database, FREED_SLOTS) as freed_slots,
    ):
        queue = JobMessageBroker(settings.redis_url)
        leadership = Leadership(process.database, process.log.reader.readable)
        keeper = Keeper(leadership, lambda: _term(settings, process, listener, freed_slots, queue))
        keeping = asyncio.ensure_future(keeper.serve())
        try:
            await until(stopping, tell, doing)
        finally:
            await end(keeping)


def _term(
    settings: Settings, process: Process, listener: Listener, freed_slots: Listener, queue: JobMessageBroker
) -> Sequence[Work]:
    """Return the followers and the clocks of one keeper's term."""
    event_log = process.log
    tail_cache = TailCache(process.log.reader, listener)
    following = followers(process, listener, tail_cache, queue)
    wake_runs = functools.partial(wake, process.database, queue, RUN_EXECUTION)
    holds, schedules = Pauses(process.database), Schedules(event_log, queue, look_back_seconds=5.0)
    idempotency = Idempotency(process.database, process.contents, process.vault)
    duties = [
        Duty("reaper", settings.lease_s / 5, Reaper(event_log, lease_seconds=settings.lease_s).sweep),
        Duty("overdue", 5.0, Overdue(event_log, slack_seconds=OVERDUE_SECONDS + settings.start_timeout_s).sweep),
        Duty("freed_slots", 1.0, FreedSlots(process.database, freed_slots, wake_runs).run),
        Duty("redelivery", 2.0, unless_held(holds, SCHEDULES, Redelivery(process.database, queue).sweep)),
        Duty("schedules", 0.5, unless_held(holds, SCHEDULES, schedules.tick)),
        Duty("prewarming", LOOK_SECONDS, unless_held(holds, SCHEDULES, PrewarmingSweep(process.database, queue).sweep)),
        Duty("abandoned", 5.0, retention(settings, process).end_abandoned_builds),
        Duty("retention", 600.0, retention(settings, process).run, delay=60.0),
        Duty("blob_garbage", 3600.0, blob_garbage(settings, process).run, delay=300.0),
        Duty("unfinished", 10.0, process.contents.blobs.forget_unfinished),
        Duty("idempotency", 600.0, idempotency.forget_old, delay=120.0),
    ]
    sealing = Sealing(process.log, settings)
    duties += sealing.duties()
    following.append(sealing.follower(listener, tail_cache))
    return [*(follower.run for follower in following), *(_kept(duty) for duty in duties)]


def _kept(duty: Duty) -> Work:
    return lambda: keep(duty)

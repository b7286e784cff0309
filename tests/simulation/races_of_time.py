"""Races with the clock: changes of a schedule around its slots, and one-off executions that are canceled as they come
due.
"""

import asyncio
import random
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from annals.domain.cron import previous_time
from annals.domain.execution import Execution
from annals.domain.function import Function
from tests.simulation.calls import PROJECT
from tests.simulation.clients import Client
from tests.simulation.races import race, ready, soon, start_instance
from tests.simulation.scenario import calm
from tests.simulation.world import World

FUNCTION = Function.stream(PROJECT, "f1")
EACH_MINUTE = ("* * * * *", "*/1 * * * *", "0-59 * * * *")
EXPRESSIONS = (*EACH_MINUTE, *EACH_MINUTE, "*/2 * * * *", "1-59/2 * * * *", "0 0 * * *", "")
FIRED_WITHIN = timedelta(seconds=2)
"""The time in which a slot fires without faults: a follower's batch, a keeper's check, and twice that as a margin."""


@race
async def edits_each_second_meet_the_slots(world: World, rng: random.Random) -> None:
    """A schedule is changed each second. A slot that was due and still is runs once, and no other slot runs."""
    clients = await _answering(world)
    for _ in range(rng.choice([1, 2])):
        await _shortly_before_a_minute(world, rng)
        for _ in range(4):
            client, schedule = rng.choice(clients), rng.choice(EXPRESSIONS)
            client.begin(f"schedule {schedule!r}", client.update_function("f1", marker="m", schedule=schedule))
            await asyncio.sleep(1.0)
    await asyncio.sleep(FIRED_WITHIN.total_seconds())
    await calm(world)
    for sentence in wrong_slots(world.ledger.events):
        world.fail(sentence)


@race
async def one_off_runs_meet_cancelation(world: World, rng: random.Random) -> None:
    """Executions are canceled, deleted or updated as they come due: none runs early or twice."""
    one, other = await _answering(world)
    calls = [one.request("f1", f"x{number}", after=rng.uniform(0.2, 1.5)) for number in range(5)]
    await asyncio.gather(*(one.begin("schedule", call) for call in calls))
    for number in rng.sample(range(5), 4):
        await soon(rng, 0.8)
        act = rng.choice([other.cancel, other.delete_execution, None])
        call = other.update_function("f1", marker=f"m{number}") if act is None else act("f1", f"x{number}")
        other.begin(f"call off x{number}", call)
    await asyncio.sleep(2.0)
    await calm(world)
    for sentence in wrong_one_off_runs(world.ledger.events, {own_id for own_id, _ in world.executor.started}):
        world.fail(sentence)


async def _answering(world: World) -> tuple[Client, Client]:
    """Return clients, and make function f1 with an active deployment; some builds fail."""
    clients = await start_instance(world)
    for number in range(1, 20):
        await ready(world, clients[0], f"d{number}")
        if world.server.rows("functions")[FUNCTION]["deployment_id"]:
            break
    return clients


async def _shortly_before_a_minute(world: World, rng: random.Random) -> None:
    """Set Postgres's clock, which schedules use, to some seconds before a full minute."""
    now = world.clocks.at("database")
    ahead = (now + timedelta(seconds=5)).replace(second=0, microsecond=0) + timedelta(minutes=1)
    world.clocks.offsets["database"] += (ahead - now).total_seconds() - rng.uniform(0.5, 2.5)
    await asyncio.sleep(0)


def wrong_slots(events: Iterable[tuple[Mapping[str, Any], Any]]) -> Iterator[str]:
    """Yield slots that fired outside their schedule, and slots that stayed due and did not fire."""
    edits: list[tuple[datetime, str]] = []
    fired: dict[datetime, datetime] = {}
    active = last = None
    for row, event in events:
        last = row["recorded_at"]
        if isinstance(event, Function.Updated):
            edits.append((last, event.configuration.schedule))
        elif isinstance(event, Function.DeploymentActivated):
            active = active or last
        elif isinstance(event, Execution.Requested) and event.slot is not None:
            fired[event.slot] = last
            if not has(in_effect(edits, event.slot), event.slot):
                yield f"{event.slot} fired, but the schedule had no such slot at that time"
    if active is None or last is None:
        return
    slot = active.replace(second=0, microsecond=0) + timedelta(minutes=1)
    while slot < last:
        since = [schedule for at, schedule in edits if slot < at <= slot + FIRED_WITHIN]
        if slot not in fired and all(has(schedule, slot) for schedule in (in_effect(edits, slot), *since)):
            yield f"{slot} stayed due and did not fire"
        slot += timedelta(minutes=1)


def in_effect(edits: Iterable[tuple[datetime, str]], moment: datetime) -> str:
    """Return the expression that was in effect at a moment."""
    return next((schedule for at, schedule in reversed([*edits]) if at <= moment), "")


def has(schedule: str, slot: datetime) -> bool:
    return bool(schedule) and previous_time(schedule, slot + timedelta(microseconds=1)) == slot


def wrong_one_off_runs(events: Iterable[tuple[Mapping[str, Any], Any]], started: set[str]) -> Iterator[str]:
    """Yield executions that began early, began after they were canceled, or ran with an outdated version."""
    due: dict[str, datetime] = {}
    versions: list[datetime] = []
    start_instance: set[str] = set()
    for row, event in events:
        stream = event.originator_id
        if isinstance(event, Function.Event):
            versions.append(row["recorded_at"])
        elif isinstance(event, Execution.Requested) and event.scheduled_at is not None:
            due[stream] = event.scheduled_at
        elif isinstance(event, Execution.Claimed):
            start_instance.add(stream)
            if row["recorded_at"] < due[stream]:
                yield f"{stream} began {due[stream] - row['recorded_at']} before its time"
        elif isinstance(event, Execution.Canceled | Execution.Deleted):
            own_id = stream.rpartition(":")[2]
            if stream not in start_instance and own_id in started:
                yield f"{own_id} was canceled before it began, but ran"
        elif isinstance(event, Execution.Completed):
            least = sum(at <= due[stream] for at in versions)
            if not least <= event.ran.function_version <= len(versions):
                yield f"{stream} ran version {event.ran.function_version}, expected {least} to {len(versions)}"

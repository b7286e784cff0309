"""Races for build slots: the builds of two projects, and the slots of each while the other waits."""

import asyncio
import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

from annals.domain.deployment import Deployment
from annals.workers.job_messages import split_stream
from tests.simulation.clients import Client
from tests.simulation.nodes import BUILD_SECONDS, BUILD_SLOTS
from tests.simulation.races import begun, race, soon
from tests.simulation.scenario import calm
from tests.simulation.world import PROJECT, World

QUIET = "q"
WORKERS = 2
SLOTS, RESERVE = WORKERS * BUILD_SLOTS.slots, WORKERS * BUILD_SLOTS.reserve
START_SECONDS = BUILD_SECONDS / 2
"""The time in which the first build of a project starts. Without the reserve it would start after a long build."""


@race
async def long_builds_of_one_project_meet_those_of_another(world: World, rng: random.Random) -> None:
    """One project fills all slots with long builds. The other's first build starts beside them, then both share the
    slots.
    """
    project = {"stream_id": f"project:{QUIET}", "project_id": QUIET, "variables_version": 1}
    world.server.tables["projects"][f"project:{QUIET}"] = project
    one, _ = await begun(world)
    quiet = Client(world, "api2", QUIET)
    for client in (one, quiet):
        await client.begin("create", client.create_function("f1", marker="0"))
    world.executor.faults.slow = 1.0
    for number in range(8):
        one.begin(f"deploy d{number}", one.deploy("f1", f"d{number}", activate=False))
    await soon(rng, 3 * BUILD_SECONDS)
    for number in range(3):
        await quiet.begin(f"deploy q{number}", quiet.deploy("f1", f"q{number}", activate=False))
        await soon(rng, 0.5)
    await asyncio.sleep(START_SECONDS)
    if not any(_started(event, QUIET) for _, event in world.ledger.events):
        world.fail(f"no build of {QUIET} was started within {START_SECONDS} s, while {PROJECT} built")
    await calm(world)
    for sentence in unfair(world):
        world.fail(sentence)


def _started(event: Any, project: str) -> bool:
    return isinstance(event, Deployment.BuildClaimed) and split_stream(event.originator_id)[0] == project


def unfair(world: World) -> Iterator[str]:
    """Yield the builds that began although their project had its share, in the order of the log."""
    running: Counter[str] = Counter()
    waiting: Counter[str] = Counter()
    for row, event in world.ledger.events:
        position = row["notification_id"]
        project = split_stream(event.originator_id)[0]
        match event:
            case Deployment.BuildQueued():
                waiting[project] += 1
            case Deployment.BuildClaimed():
                total, own = running.total(), running[project]
                first = sum(running[other] < own for other in waiting if other != project and waiting[other])
                if own and total + first >= SLOTS:
                    yield f"{position}: {project} with {own} builds began another while {total} ran, {first} were first"
                if total >= SLOTS + RESERVE:
                    yield f"{position}: {project} began a build while {total} ran"
                waiting[project] -= 1
                running[project] += 1
            case Deployment.BuildSucceeded() | Deployment.BuildFailed():
                running[project] -= 1

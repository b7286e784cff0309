"""Races: two actions that meet at a random moment, a thousand times, and their permitted results.

One file because the races are played the same way, and need nothing of one another. Races of time and of deleted
projects have files of their own.
"""

import asyncio
import hashlib
import random
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

from annals.app.deployments.ranges import UploadChunk
from annals.domain.deployment import Deployment
from annals.domain.errors import FunctionAlreadyExists
from annals.domain.function import Function
from annals.store.log.log import Recorded
from annals.workers.job_messages import split_stream
from tests.simulation.blobs import digest
from tests.simulation.clients import Client
from tests.simulation.ledger import other_versions
from tests.simulation.nodes import BUILD_SECONDS, BUILD_SLOTS
from tests.simulation.scenario import calm
from tests.simulation.world import PROJECT, World

Race = Callable[[World, random.Random], Coroutine[Any, Any, None]]
RACES: dict[str, Race] = {}
LONG = {"two_hundred_write_one_function"}
"""The races of which one trial takes as long as ten of another."""

NODES = ("api1", "api2", "worker1", "worker2", "keeper1")

_ATTEMPTS = 60
_WAIT_SECONDS = 2.0

QUIET = "q"
WORKERS = 2
SLOTS, RESERVE = WORKERS * BUILD_SLOTS.slots, WORKERS * BUILD_SLOTS.reserve
START_SECONDS = BUILD_SECONDS / 2
"""The time in which the first build of a project starts. Without the reserve it would start after a long build."""


def race(one: Race) -> Race:
    RACES[one.__name__] = one
    return one


async def start_instance(world: World) -> tuple[Client, Client]:
    """Return a client of each API process of a running instance."""
    for name in NODES:
        world.start(name)
    await asyncio.sleep(0.1)
    return Client(world, "api1"), Client(world, "api2")


async def ready(world: World, client: Client, *deployments: str) -> None:
    """Create function f1, and build its deployments one after another."""
    await client.begin("create", client.create_function("f1", marker="0"))
    for own_id in deployments:
        await client.begin(f"deploy {own_id}", client.deploy("f1", own_id, activate=True))
        for _ in range(600):
            row = world.server.rows("deployments").get(Deployment.stream(PROJECT, own_id))
            if row is None or row["status"] in {"ready", "failed"}:
                break
            await asyncio.sleep(0.02)


async def soon(rng: random.Random, most: float) -> None:
    """Sleep for a random time that is mostly short."""
    await asyncio.sleep(rng.random() ** 2 * most)


@race
async def cancel_meets_the_end(world: World, rng: random.Random) -> None:
    """An execution that is canceled while it waits, runs or ends has exactly one end."""
    one, other = await start_instance(world)
    await ready(world, one, "d1")
    for number in range(4):
        await one.begin("request", one.request("f1", f"x{number}"))
        await soon(rng, 0.8)
        await other.begin("cancel", other.cancel("f1", f"x{number}"))
    await calm(world)


@race
async def activation_meets_deletion(world: World, rng: random.Random) -> None:
    """A deployment that is active in the end exists."""
    one, other = await start_instance(world)
    await ready(world, one, "d1", "d2")
    both = [one.begin("activate", one.activate("f1", "d1")), other.begin("delete", other.delete_deployment("f1", "d1"))]
    await soon(rng, 0.03)
    both.append(one.begin("request", one.request("f1", "x1")))
    await asyncio.wait(both, timeout=20)
    await calm(world)


@race
async def deletion_meets_build_run_and_upload(world: World, rng: random.Random) -> None:
    """A function that is deleted during a build, executions and an upload leaves nothing behind."""
    one, other = await start_instance(world)
    await ready(world, one, "d1")
    tasks = [one.begin("deploy", one.deploy("f1", "d2", activate=True)), one.begin("run", one.run_now("f1"))]
    tasks += [one.begin("request", one.request("f1", f"x{number}")) for number in range(2)]
    tasks += [other.begin("chunk", other.upload_chunk("f1", "d3", chunk, data)) for chunk, data in chunks(2)]
    await soon(rng, 1.0)
    tasks.append(other.begin("delete", other.delete_function("f1")))
    for number in range(4):
        await soon(rng, 0.01)
        tasks += [one.begin("run", one.run_now("f1")), one.begin("request", one.request("f1", f"late{number}"))]
    await asyncio.wait(tasks, timeout=30)
    await calm(world)
    for table in ("deployments", "functions", "executions"):
        if world.server.rows(table):
            world.fail(f"{table} has rows of a function that is gone")


@race
async def many_create_one_id(world: World, rng: random.Random) -> None:
    """Of fifty clients that create one id, one succeeds and the others get an already-exists error."""
    clients = await start_instance(world)
    tasks = []
    for number in range(50):
        client = rng.choice(clients)
        tasks.append(client.begin(f"create {number}", client.create_function("f1", marker=str(number))))
        if rng.random() < 0.1:
            await soon(rng, 0.01)
    answers = await asyncio.gather(*tasks)
    made = [answer for answer in answers if isinstance(answer, Recorded)]
    refused = [answer for answer in answers if isinstance(answer, FunctionAlreadyExists)]
    if len(made) != 1 or len(refused) != 49:
        world.fail(f"of fifty creators {len(made)} succeeded and {len(refused)} were refused because the id exists")
    await calm(world)


@race
async def reaper_meets_new_calls(world: World, rng: random.Random) -> None:
    """Calls go on while a worker is frozen for about one lease, and resumes as the reaper judges it."""
    one, _ = await start_instance(world)
    await ready(world, one, "d1")
    world.executor.faults.slow = 0.5
    world.freeze("worker1")
    tasks = [one.begin("request", one.request("f1", f"x{number}")) for number in range(3)]
    await asyncio.sleep(rng.uniform(3.0, 6.0))
    world.thaw("worker1")
    tasks += [one.begin("request", one.request("f1", f"y{number}")) for number in range(3)]
    await asyncio.wait(tasks, timeout=20)
    await calm(world)


@race
async def configuration_meets_first_calls(world: World, rng: random.Random) -> None:
    """An execution records a version of its function that was current between its request and its end."""
    one, other = await start_instance(world)
    await ready(world, one, "d1")
    tasks = []
    for number in range(4):
        tasks.append(one.begin("request", one.request("f1", f"x{number}")))
        tasks.append(other.begin("update", other.update_function("f1", marker=f"m{number}")))
        await soon(rng, 0.05)
    tasks.append(one.begin("run", one.run_now("f1")))
    await asyncio.wait(tasks, timeout=30)
    await calm(world)
    for sentence in other_versions(event for _, event in world.ledger.events):
        world.fail(sentence)


@race
async def many_write_one_function(world: World, rng: random.Random) -> None:
    """Every acknowledged update is in the history once, and the function has the last of them."""
    await _writers(world, rng, 25)


@race
async def two_hundred_write_one_function(world: World, rng: random.Random) -> None:
    """The same with as many writers as one function accepts at once."""
    await _writers(world, rng, 200)


async def _writers(world: World, rng: random.Random, count: int) -> None:
    clients = await start_instance(world)
    await clients[0].begin("create", clients[0].create_function("f1", marker="0"))
    tasks = []
    for number in range(count):
        client = rng.choice(clients)
        tasks.append(client.begin(f"update {number}", client.update_function("f1", marker=f"m{number}")))
    answers = await asyncio.gather(*tasks)
    acknowledged = [f"m{number}" for number, answer in enumerate(answers) if isinstance(answer, Recorded)]
    written = [e.configuration.name for _, e in world.ledger.events if isinstance(e, Function.Updated)]
    if sorted(written) != sorted(acknowledged):
        world.fail(f"{len(acknowledged)} updates were acknowledged, and {len(written)} are in the history")
    if written and world.server.rows("functions")[Function.stream(PROJECT, "f1")]["name"] != written[-1]:
        world.fail("the function differs from its last update")
    await calm(world)


@race
async def chunks_in_any_order(world: World, rng: random.Random) -> None:
    """Chunks that arrive in any order, at once, twice and at any process make a complete source that is queued once."""
    clients = await start_instance(world)
    await clients[0].begin("create", clients[0].create_function("f1", marker="0"))
    parts = chunks(rng.randrange(2, 6))
    sent = [*parts, *rng.sample(parts, rng.randrange(len(parts)))]
    rng.shuffle(sent)
    tasks = []
    for chunk, data in sent:
        client = rng.choice(clients)
        tasks.append(client.begin(f"chunk {chunk.number}", client.upload_chunk("f1", "d1", chunk, data)))
        if rng.random() < 0.5:
            await soon(rng, 0.05)
    await asyncio.wait(tasks, timeout=30)
    await calm(world)
    row = world.server.rows("deployments").get(Deployment.stream(PROJECT, "d1"))
    whole = b"".join(data for _, data in parts)
    if row is None or row["source_digest"] != hashlib.sha256(whole).hexdigest():
        world.fail(f"the source differs from the sent chunks: {row and row['source_key']}")
    elif world.blobs.stored.get(row["source_key"]) != whole:
        world.fail("the recorded source is missing")
    left = [
        key for key in world.blobs.stored if key.startswith("sources/") and (row is None or key != row["source_key"])
    ]
    if left:
        world.fail(f"unreferenced sources are left: {left}")


@race
async def older_build_meets_newer_activation(world: World, rng: random.Random) -> None:
    """A slow build does not replace a newer deployment that was activated meanwhile."""
    one, other = await start_instance(world)
    await one.begin("create", one.create_function("f1", marker="0"))
    world.executor.faults.slow = 0.7
    await one.begin("deploy d1", one.deploy("f1", "d1", activate=True))
    await asyncio.sleep(0.1)
    world.executor.faults.slow = 0.0
    await one.begin("deploy d2", one.deploy("f1", "d2", activate=False))
    for _ in range(10):
        await soon(rng, 0.8)
        await other.begin("activate d2", other.activate("f1", "d2"))
    await calm(world)


@race
async def stale_worker_meets_new_claim(world: World, rng: random.Random) -> None:
    """A frozen worker resumes with builds that other workers have started again."""
    one, _ = await start_instance(world)
    await one.begin("create", one.create_function("f1", marker="0"))
    world.executor.faults.slow = 0.6
    await asyncio.gather(*(one.begin(f"deploy d{n}", one.deploy("f1", f"d{n}", activate=True)) for n in range(3)))
    await soon(rng, 0.3)
    stands = rng.choice(["worker1", "worker2"])
    world.freeze(stands)
    await asyncio.sleep(rng.uniform(4.5, 9.0))
    world.thaw(stands)
    await asyncio.sleep(1.0)
    await calm(world)


@race
async def answers_are_lost(world: World, rng: random.Random) -> None:
    """A committed change whose answer was lost is neither repeated nor refused because of itself."""
    one, other = await start_instance(world)
    await ready(world, one, "d1")
    world.broken = True
    world.server.faults.after = 0.4
    tasks = [
        client.begin(f"request x{number}", client.request("f1", f"x{number}"))
        for number, client in enumerate([one, other] * 4)
    ]
    await asyncio.wait(tasks, timeout=5)
    await calm(world)


@race
async def job_messages_come_twice(world: World, rng: random.Random) -> None:
    """Every job message is doubled and late, and still no claim starts its work twice."""
    one, other = await start_instance(world)
    world.broken = True
    faults = world.queue.faults
    faults.double, faults.delay, faults.reorder = 1.0, 0.3, 1.0
    await ready(world, one, "d1")
    tasks = [one.begin(f"request x{number}", one.request("f1", f"x{number}")) for number in range(4)]
    tasks += [other.begin(f"deploy d{n}", other.deploy("f1", f"d{n}", activate=True)) for n in range(2, 5)]
    await asyncio.wait(tasks, timeout=20)
    await asyncio.sleep(8.0)
    await calm(world)


def chunks(count: int) -> list[tuple[UploadChunk, bytes]]:
    """Return a file in `count` chunks. Their sizes are small, since the code under test only counts them."""
    data = [bytes([65 + number]) * 4 for number in range(count)]
    return [(UploadChunk(number, count, 4, 4 * count), part) for number, part in enumerate(data)]


def play(name: str, trial: int) -> World:
    """Play one trial of a race."""
    world = World(trial)
    rng = random.Random(world.rng.getrandbits(64))
    world.drive(lambda world: RACES[name](world, rng))
    return world


@race
async def uploads_meet_a_store_that_fails(world: World, rng: random.Random) -> None:
    """Chunks that are sent until they are answered make a complete source, stored before its event is recorded."""
    clients = await start_instance(world)
    await clients[0].begin("create", clients[0].create_function("f1", marker="0"))
    world.broken = True
    faults = world.blobs.faults
    faults.before, faults.after, faults.deadly = rng.choice([0.2, 0.5]), rng.choice([0.1, 0.3]), rng.choice([0.0, 0.3])
    parts = chunks(rng.randrange(1, 4))
    rng.shuffle(parts)
    sending = [asyncio.ensure_future(_until_answered(world, rng, clients, *part)) for part in parts]
    while not all(task.done() for task in sending):
        await soon(rng, 0.5)
        for name in ("api1", "api2"):
            if not world.nodes[name].alive:
                world.start(name)
    await calm(world)
    row = world.server.rows("deployments").get(Deployment.stream(PROJECT, "d1"))
    whole = b"".join(data for _, data in chunks(len(parts)))
    if row is None or row["source_digest"] != digest(whole):
        world.fail(f"each chunk was answered, but the source differs from the sent chunks: {row and row['source_key']}")


async def _until_answered(
    world: World, rng: random.Random, clients: tuple[Client, Client], chunk: UploadChunk, data: bytes
) -> None:
    for _ in range(_ATTEMPTS):
        client = rng.choice(clients)
        sent = client.begin(f"chunk {chunk.number}", client.upload_chunk("f1", "d1", chunk, data))
        answered, _ = await asyncio.wait([sent], timeout=_WAIT_SECONDS)
        if answered and not isinstance(sent.result(), Exception):
            return
        await soon(rng, 0.2)
    world.fail(f"chunk {chunk.number} was refused {_ATTEMPTS} times")


@race
async def long_builds_of_one_project_meet_those_of_another(world: World, rng: random.Random) -> None:
    """One project fills all slots with long builds. The other's first build starts beside them, then both share the
    slots.
    """
    project = {"stream_id": f"project:{QUIET}", "project_id": QUIET, "variables_version": 1}
    world.server.tables["projects"][f"project:{QUIET}"] = project
    one, _ = await start_instance(world)
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

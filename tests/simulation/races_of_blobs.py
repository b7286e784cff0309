"""Races with the blob store: uploads fail or end their process around the moment of publication."""

import asyncio
import random

from annals.app.deployments.ranges import UploadChunk
from annals.domain.deployment import Deployment
from tests.simulation.blobs import digest
from tests.simulation.calls import PROJECT
from tests.simulation.clients import Client
from tests.simulation.races import begun, chunks, race, soon
from tests.simulation.scenario import calm
from tests.simulation.world import World

_ATTEMPTS = 60
_WAIT_SECONDS = 2.0


@race
async def uploads_meet_a_store_that_fails(world: World, rng: random.Random) -> None:
    """Chunks that are sent until they are answered make a complete source, stored before its event is recorded."""
    clients = await begun(world)
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

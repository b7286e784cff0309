"""A crowd of calls that are being accepted lets the workers of the host know: they take less meanwhile."""

import asyncio
from pathlib import Path

import msgspec
import pytest

from annals.app.services import Services
from annals.domain.execution import Execution
from annals.settings import Settings
from annals.store.content.inputs import KIND
from annals.store.coordination.direct_dispatch import Door, Knock
from tests.integration.edge import given
from tests.integration.edge.client import Client


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    return msgspec.structs.replace(settings, executor_urls=(f"unix:{tmp_path}/executor.sock",))


async def test_only_a_crowd_of_asynchronous_calls_holds_the_workers_back(
    services: Services, plain: Client, tmp_path: Path
) -> None:
    told, nothing = tmp_path / "executor.sock.pressure", bytes(8)
    function_id = await given.running_function(services, plain)

    await asyncio.gather(*(given.execute(plain, function_id) for _ in range(16)))
    accepted = await given.execute(plain, function_id, async_=True)
    assert accepted.status == 202
    assert told.read_bytes() == nothing

    await asyncio.gather(*(given.execute(plain, function_id, async_=True) for _ in range(16)))
    assert told.read_bytes() != nothing


async def test_a_call_that_is_to_run_now_is_told_of_at_a_workers_door_once_it_is_recorded(
    services: Services, plain: Client, settings: Settings
) -> None:
    heard = asyncio.Queue[Knock]()
    door = Door.open(settings.executor_urls, heard.put_nowait)
    function_id = await given.running_function(services, plain)

    await given.execute(plain, function_id, async_=True, scheduledAt="2100-01-01T00:00:00.000+00:00")
    await given.execute(plain, function_id)
    accepted = await given.execute(plain, function_id, async_=True, body="payload")

    async with asyncio.timeout(60):
        knock = await heard.get()
    assert heard.empty()
    (fact,) = await services.log.facts.of_stream(knock.stream)
    assert knock.stream == Execution.stream(fact.project, accepted.json["$id"])
    assert (knock.version, knock.position) == (1, fact.position)
    assert knock.correlation == fact.event.metadata["correlation"]
    assert services.log.mapper.decode(knock.stream, 1, Execution.Requested.TOPIC, knock.state) == fact.event
    assert knock.given == await services.log.contents.read(knock.stream, KIND)
    assert door is not None
    door.close()

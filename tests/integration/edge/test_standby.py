"""Answers while commits wait for a synchronous standby that does not answer."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from annals.settings import Settings
from annals.store.errors import StandbyAway
from annals.store.postgres.migrate import migrate
from tests.integration.edge import given
from tests.integration.edge.client import Client
from tests.integration.postgres import Replicated


@pytest.fixture
def pair() -> Iterator[Replicated]:
    server = Replicated()
    try:
        migrate(server.url())
        server.replicate()
        yield server
    finally:
        server.close()


@pytest.fixture
def settings(pair: Replicated, tmp_path: Path) -> Settings:
    return Settings(data=tmp_path, database_url=pair.url(), functions_create_quota=0)


async def test_missing_standby_delays_writes_and_not_reads(pair: Replicated, plain: Client) -> None:
    function_id = await given.function(plain)
    path = f"/v1/functions/{function_id}"
    pair.standby.stop()

    for name in ("b", "c", "d", "e"):
        reply = await plain.put(path, name=name)
        assert reply.error == (503, "general_service_unavailable")
        assert reply.json["message"] == StandbyAway.default
        assert int(reply.headers["retry-after"]) > 0
        assert (await plain.get(path)).json["name"] == "fn"

    pair.standby.start()
    async with asyncio.timeout(120):
        while (reply := await plain.put(path, name="z")).status == 503:
            await asyncio.sleep(0.05)
    assert reply.json["name"] == "z"

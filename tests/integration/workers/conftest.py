"""The queue server of the workers' tests."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.integration.workers.valkey import Valkey
from tests.integration.workers.world import World, opened, with_project


@pytest.fixture(scope="session")
def valkey_server() -> Iterator[Valkey]:
    server = Valkey()
    server.start()
    yield server
    server.close()


@pytest.fixture
def valkey(valkey_server: Valkey) -> Valkey:
    """The session's server, running and empty."""
    valkey_server.wipe()
    return valkey_server


@pytest.fixture
async def world(database_url: str, tmp_path: Path) -> AsyncIterator[World]:
    """One process's view of an instance with one project."""
    async with opened(database_url, tmp_path) as world:
        yield await with_project(world)

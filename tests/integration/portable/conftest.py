"""Two instances: one with a history, contents and secrets, and an empty one beside it."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.integration.portable.instances import Instance
from tests.integration.postgres import Postgres


@pytest.fixture
def another_url(postgres: Postgres) -> Iterator[str]:
    postgres.execute("CREATE DATABASE another TEMPLATE migrated")
    yield postgres.url("another")
    postgres.execute("DROP DATABASE another WITH (FORCE)")


@pytest.fixture
async def here(database_url: str, tmp_path: Path) -> AsyncIterator[Instance]:
    async with Instance.opened(database_url, tmp_path / "here") as instance:
        await instance.fill()
        yield instance


@pytest.fixture
async def there(another_url: str, tmp_path: Path) -> AsyncIterator[Instance]:
    async with Instance.opened(another_url, tmp_path / "there") as instance:
        yield instance

"""Fixtures of tests on real services: one Postgres for the session, and a migrated database for each test."""

from collections.abc import AsyncIterator, Iterator
from itertools import count

import pytest

from annals.store.postgres.database import Database
from annals.store.postgres.migrate import migrate
from tests.integration.postgres import Postgres

_NUMBERS = count(1)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    server = Postgres()
    try:
        server.start()
        server.execute("CREATE DATABASE migrated")
        migrate(server.url("migrated"))
        yield server
    finally:
        server.close()


@pytest.fixture
def empty_database_url(postgres: Postgres) -> Iterator[str]:
    """Return the URL of a database without tables."""
    name = f"empty_{next(_NUMBERS)}"
    postgres.execute(f"CREATE DATABASE {name}")
    yield postgres.url(name)
    postgres.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def database_url(postgres: Postgres) -> Iterator[str]:
    """Return the URL of a new migrated database."""
    name = f"test_{next(_NUMBERS)}"
    postgres.execute(f"CREATE DATABASE {name} TEMPLATE migrated")
    yield postgres.url(name)
    postgres.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    opened = await Database.open(database_url, retry_seconds=30.0)
    try:
        yield opened
    finally:
        await opened.close()

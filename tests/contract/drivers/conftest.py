"""Fixtures for both drivers: every test of this suite runs on each of them."""

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from annals.executor.drivers.engine import engine_problem
from annals.executor.isolation import trash
from tests.contract.drivers import cloud
from tests.contract.drivers.hosts import Host, Shell, configuration, driver_of


@pytest.fixture(params=["sandbox", pytest.param("docker", marks=pytest.mark.docker)])
def driver(request: pytest.FixtureRequest, folder: Path) -> str:
    name = str(request.param)
    if name == "docker" and (problem := engine_problem(configuration(folder, name))):
        pytest.skip(problem)
    return name


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path: sockets live below it. Closed to others, as a data folder is."""
    with TemporaryDirectory(prefix="dr-", dir="/tmp") as path:
        yield Path(path)
        for name in os.listdir(path):  # deeper than what follows can remove
            trash.remove(Path(path, name))


@pytest.fixture
async def host(folder: Path, driver: str) -> AsyncIterator[Host]:
    made = Host(folder, driver)
    await made.open()
    yield made
    await made.close()


@pytest.fixture
async def shell(folder: Path, driver: str) -> AsyncIterator[Shell]:
    config = configuration(folder, driver)
    config.work.mkdir(mode=0o711)
    made = driver_of(config)
    await made.open()
    yield Shell(config, made)
    await made.close()


@pytest.fixture
def beyond() -> Iterator[None]:
    """A machine that this host reaches at a cloud's addresses of metadata, and at another one."""
    if problem := cloud.impossible():
        pytest.skip(problem)
    with cloud.laid():
        yield

"""One executor with the Open Runtimes API for each driver. All tests of a module share it, with their own runtimes."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from annals.executor.drivers.engine import engine_problem
from tests.contract.drivers.hosts import configuration
from tests.contract.open_runtimes.control import ControlPlane


@pytest.fixture(scope="package", params=["sandbox", pytest.param("docker", marks=pytest.mark.docker)])
def plane(request: pytest.FixtureRequest) -> Iterator[ControlPlane]:
    with TemporaryDirectory(prefix="fa-", dir="/tmp") as folder:
        name = str(request.param)
        if name == "docker" and (problem := engine_problem(configuration(Path(folder), name))):
            pytest.skip(problem)
        made = ControlPlane(Path(folder), name)
        made.open()
        try:
            yield made
        finally:
            made.close()


@pytest.fixture
def soon() -> Callable[[Callable[[], object]], None]:
    """Waits until something holds, at most a minute."""

    def wait(holds: Callable[[], object]) -> None:
        until = time.monotonic() + 60
        while not holds():
            assert time.monotonic() < until, "it does not come to hold"
            time.sleep(0.05)

    return wait

"""Fixtures of the fault tests: short folders, clients, and the checks that follow each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.client import Client
from tests.faults import canaries, invariants
from tests.faults.invariants import History
from tests.faults.stage import Stage
from tests.instance import AnnalsInstance, short_folder


@pytest.fixture
def folder() -> Iterator[Path]:
    """Return a folder with a short path that every user may traverse."""
    with short_folder() as path:
        yield path


@pytest.fixture
def client(instance: AnnalsInstance) -> Client:
    """Return a client of the module's instance."""
    return canaries.client(instance)


@pytest.fixture
def history_holds(invariants_hold: None, instance: AnnalsInstance) -> Iterator[None]:
    """Check after a test that the recorded history is a valid one."""
    yield
    invariants.check_idle(instance)
    assert History(instance).wrong == []


@pytest.fixture(autouse=True)
def invariants_hold(request: pytest.FixtureRequest) -> Iterator[None]:
    """Check the invariants of the module's instance after each test: all of them if the module has a stage."""
    stage: Stage | None = request.getfixturevalue("stage") if "stage" in request.fixturenames else None
    instance: AnnalsInstance | None = (
        request.getfixturevalue("instance") if "instance" in request.fixturenames else None
    )
    yield
    if stage is not None:
        stage.heal()
        invariants.check_all(stage.instance)
        canaries.check_unreadable(stage.instance, *stage.outside_folders)
    elif instance is not None:
        invariants.check_idle(instance)

"""What the fault tests share: folders for instances of their own, their clients, and what is to hold after each."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.client import Client
from tests.faults import canaries, invariants
from tests.faults.history import History
from tests.faults.stage import Stage
from tests.instance import AnnalsInstance, short_folder


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path that any user may pass."""
    with short_folder() as path:
        yield path


@pytest.fixture
def client(instance: AnnalsInstance) -> Client:
    """Of the module's own instance."""
    return canaries.client(instance)


@pytest.fixture
def raced(held: None, instance: AnnalsInstance) -> Iterator[None]:
    """After a race the history is one that may be."""
    yield
    invariants.settled(instance)
    assert History(instance).wrong == []


@pytest.fixture(autouse=True)
def held(request: pytest.FixtureRequest) -> Iterator[None]:
    """After a test the invariants hold for the instance that it shares: all of them where it has a stage."""
    stage: Stage | None = request.getfixturevalue("stage") if "stage" in request.fixturenames else None
    instance: AnnalsInstance | None = (
        request.getfixturevalue("instance") if "instance" in request.fixturenames else None
    )
    yield
    if stage is not None:
        stage.heal()
        invariants.hold(stage.instance)
        canaries.unseen(stage.instance, *stage.beside)
    elif instance is not None:
        invariants.settled(instance)

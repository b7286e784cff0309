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
def raced(instance: AnnalsInstance) -> Iterator[None]:
    """After a race all has ended, and the history is one that may be."""
    yield
    invariants.settled(instance)
    assert History(instance).wrong == []


@pytest.fixture
def held(stage: Stage) -> Iterator[None]:
    """After a test the invariants hold; `stage` is its module's own."""
    yield
    stage.heal()
    invariants.hold(stage.instance, executor=stage.folder / "executor", blobs=stage.blobs)
    canaries.unseen(stage.instance, *stage.beside)

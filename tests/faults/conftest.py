"""What the fault tests share: folders for instances of their own, and what is to hold after each."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults import invariants
from tests.faults.stage import Stage
from tests.instance import short_folder


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path that any user may pass."""
    with short_folder() as path:
        yield path


@pytest.fixture
def held(stage: Stage) -> Iterator[None]:
    """After a test the invariants hold; `stage` is its module's own."""
    yield
    stage.heal()
    invariants.hold(stage.instance, executor=stage.folder / "executor", blobs=stage.blobs)

"""What the fault tests share: folders for instances of their own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.instance import short_folder


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path that any user may pass."""
    with short_folder() as path:
        yield path

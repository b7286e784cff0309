"""The setting of its process that a rebuild changes and restores."""

import gc

import pytest

from annals.projections.replay.refill import rarely_collected


def failing_rebuild(seen: list[int]) -> None:
    with rarely_collected():
        seen.append(gc.get_threshold()[0])
        raise OSError("the disk is away")


def test_failed_rebuild_restores_the_garbage_collector() -> None:
    before, seen = gc.get_threshold(), list[int]()

    with pytest.raises(OSError, match="away"):
        failing_rebuild(seen)

    assert seen[0] > before[0]
    assert gc.get_threshold() == before

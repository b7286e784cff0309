"""Races, each a thousand times in the simulation in CI; ANNALS_RACE_TRIALS says how many."""

import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.simulation import (  # noqa: F401 - they register their races
    races_of_blobs,
    races_of_builds,
    races_of_projects,
    races_of_time,
)
from tests.simulation.races import LONG, RACES
from tests.simulation.test_simulation import simulation

TRIALS = int(os.environ.get("ANNALS_RACE_TRIALS") or (1000 if os.environ.get("CI") else 60))
LONG_TRIALS = max(3, TRIALS // 40)
"""One with two hundred writers takes a third of a second: these fit in ten, and a thousand would take six minutes."""


@pytest.fixture(scope="module")
def told() -> dict[str, str]:
    """What was said of each race: its name, and what came of how many trials."""
    short = sorted(RACES.keys() - LONG)
    runs = (
        ("--race", *short[::2], "--seeds", str(TRIALS)),
        ("--race", *short[1::2], "--seeds", str(TRIALS)),
        ("--race", *sorted(LONG), "--seeds", str(LONG_TRIALS)),
    )
    with ThreadPoolExecutor(2) as pool:
        ended = list(pool.map(lambda words: simulation(*words), runs))
    blocks = "".join(run.stdout for run in ended).split("\n== ")
    assert [run.stderr for run in ended] == ["", "", ""]
    return {block.partition(":")[0].removeprefix("== "): block for block in blocks}


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", sorted(RACES))
def test_whoever_is_first_nothing_is_lost_or_done_twice(told: dict[str, str], name: str) -> None:
    trials = LONG_TRIALS if name in LONG else TRIALS
    assert f"{trials} trials, 0 violated something" in told[name], told[name]

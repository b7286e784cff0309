"""The races, each played a thousand times in CI. ANNALS_RACE_TRIALS sets the number."""

import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.simulation import (  # noqa: F401 - the imports register the races
    races_of_projects,
    races_of_time,
)
from tests.simulation.races import LONG, RACES
from tests.simulation.test_simulation import simulation

TRIALS = int(os.environ.get("ANNALS_RACE_TRIALS") or (1000 if os.environ.get("CI") else 60))
LONG_TRIALS = max(3, TRIALS // 40)
"""Fewer trials of the race with two hundred writers: these take ten seconds, and a thousand would take six minutes."""


@pytest.fixture(scope="module")
def printed() -> dict[str, str]:
    """Return the printed result of each race by its name."""
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
def test_races_lose_nothing_and_do_nothing_twice(printed: dict[str, str], name: str) -> None:
    trials = LONG_TRIALS if name in LONG else TRIALS
    assert f"{trials} trials, 0 violated something" in printed[name], printed[name]

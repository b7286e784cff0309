"""Seeds are played for a fixed time, those that found something once for good, and planted bugs are found."""

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.simulation import (  # noqa: F401 - they register their own
    mutations_of_blobs,
    mutations_of_builds,
    mutations_of_projects,
)
from tests.simulation.mutations import MUTATIONS

ROOT = Path(__file__).parents[2]
SECONDS = 15 if os.environ.get("CI") else 8
LEAST = SECONDS * 10
"""How many each of two runs plays in that time however busy the machine is: alone, a core plays four times as many."""

SEEDS = 800
"""Within how many seeds a planted bug has to be found."""


def simulation(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """A run in an interpreter of its own: hashes and clocks are the simulation's there."""
    command = [sys.executable, "-m", "tests.simulation", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def fresh() -> int:
    """Where new seeds begin: in CI by the commit, so that a run can be repeated, elsewhere by the clock."""
    if os.environ.get("CI"):
        commit = ["git", "rev-parse", "--short=8", "HEAD"]
        told = subprocess.run(commit, cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()
        if told:
            return int(told[:8], 16)
    return int(time.time())


@pytest.mark.timeout(900)
def test_what_is_promised_holds_for_every_seed_that_the_time_allows() -> None:
    first = fresh()
    with ThreadPoolExecutor(2) as pool:
        starts = (first, first + 10**9)
        words = ("--seconds", str(SECONDS), "--least", str(LEAST), "--first")
        runs = pool.map(lambda start: simulation(*words, str(start)), starts)
    for run in runs:
        assert run.returncode == 0, run.stdout + run.stderr  # each seed that found something, and how to replay it
        assert int(run.stdout.partition(" seeds, 0 violated something")[0]) >= LEAST


def test_what_a_seed_found_once_stays_found() -> None:
    run = simulation("--corpus")
    assert run.returncode == 0, run.stdout + run.stderr


def test_a_seed_plays_the_same_scenario_each_time() -> None:
    with ThreadPoolExecutor(2) as pool:
        first, second = (run.stdout for run in pool.map(lambda _: simulation("--seed", "7", "--digest"), range(2)))
    assert len(first.strip()) == 64
    assert first == second


@pytest.fixture(scope="module")
def found() -> dict[str, str]:
    """Which seed found each planted bug, in words."""
    names = sorted(MUTATIONS)
    with ThreadPoolExecutor(2) as pool:
        halves = (names[::2], names[1::2])
        runs = pool.map(lambda half: simulation("--mutation", *half, "--seeds", str(SEEDS)), halves)
    lines = [line.partition(": ") for run in runs for line in run.stdout.splitlines()]
    return {name: sentence for name, _, sentence in lines}


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", sorted(MUTATIONS))
def test_a_planted_bug_is_found(found: dict[str, str], name: str) -> None:
    assert found.get(name, "").startswith("seed "), found

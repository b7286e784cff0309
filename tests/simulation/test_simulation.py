"""New seeds play for a fixed time, seeds that once found a bug play always, and planted bugs are found."""

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.simulation.mutations import MUTATIONS

ROOT = Path(__file__).parents[2]
SECONDS = 15 if os.environ.get("CI") else 8
LEAST = SECONDS * 10
"""The fewest seeds that each of two runs plays on a busy machine. An idle core plays four times as many."""

SEEDS = 800
"""The number of seeds that have to find a planted bug."""


def simulation(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run the simulation in a separate interpreter, which sets its own hashes and clocks."""
    command = [sys.executable, "-m", "tests.simulation", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def fresh() -> int:
    """Return the first new seed: from the commit in CI, so that a run can be repeated, otherwise from the clock."""
    if os.environ.get("CI"):
        commit = ["git", "rev-parse", "--short=8", "HEAD"]
        printed = subprocess.run(commit, cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()
        if printed:
            return int(printed[:8], 16)
    return int(time.time())


@pytest.mark.timeout(900)
def test_new_seeds_violate_no_invariant() -> None:
    first = fresh()
    with ThreadPoolExecutor(2) as pool:
        starts = (first, first + 10**9)
        words = ("--seconds", str(SECONDS), "--least", str(LEAST), "--first")
        runs = pool.map(lambda start: simulation(*words, str(start)), starts)
    for run in runs:
        assert run.returncode == 0, run.stdout + run.stderr  # prints each seed with a violation, and how to replay it
        assert int(run.stdout.partition(" seeds, 0 violated something")[0]) >= LEAST


def test_corpus_seeds_violate_no_invariant() -> None:
    run = simulation("--corpus")
    assert run.returncode == 0, run.stdout + run.stderr


def test_seed_always_plays_the_same_scenario() -> None:
    with ThreadPoolExecutor(2) as pool:
        first, second = (run.stdout for run in pool.map(lambda _: simulation("--seed", "7", "--digest"), range(2)))
    assert len(first.strip()) == 64
    assert first == second


@pytest.fixture(scope="module")
def printed() -> dict[str, str]:
    """Return the printed seed that found each planted bug."""
    names = sorted(MUTATIONS)
    with ThreadPoolExecutor(2) as pool:
        halves = (names[::2], names[1::2])
        runs = pool.map(lambda half: simulation("--mutation", *half, "--seeds", str(SEEDS)), halves)
    lines = [line.partition(": ") for run in runs for line in run.stdout.splitlines()]
    return {name: sentence for name, _, sentence in lines}


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", sorted(MUTATIONS))
def test_planted_bug_is_found(printed: dict[str, str], name: str) -> None:
    assert printed.get(name, "").startswith("seed "), printed

"""`python -m tests.simulation`: play one seed and print what happened, or play as many seeds as the time allows.

--seed N                   play this seed, and print what happened
--seconds S --first N      play seeds from N on for S seconds; print each with a violation
--least M                  with --seconds: play at least M seeds, however long that takes
--corpus                   play the seeds of corpus.txt, each of which once found a bug
--mutation NAME --seeds M  plant a bug (or `all`, one by one), and play until it is found, at most M seeds
--race NAME --seeds M      run races (or `all`) M times each; with --seed N print what happens in one trial
--digest                   with --seed: print only a digest of all that happened
"""

import argparse
import gc
import hashlib
import json
import os
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import count, islice
from pathlib import Path

from tests.simulation import (  # noqa: F401 - they register their contents
    races,
    races_of_projects,
    races_of_time,
)
from tests.simulation.mutations import MUTATIONS, SOUGHT_BY
from tests.simulation.scenario import random_scenario
from tests.simulation.world import World, silence

CORPUS = Path(__file__).with_name("corpus.txt")
_BATCH = 50
_SHOWN = 10


def play(seed: int) -> World:
    """Play one seed to its end."""
    world = World(seed)
    world.drive(random_scenario)
    return world


def corpus() -> list[int]:
    """Return the seeds that once found a bug."""
    lines = (line.partition("#")[0].strip() for line in CORPUS.read_text().splitlines())
    return [int(line) for line in lines if line]


def search(seeds: Iterable[int], *, until_found: bool = False, race: str = "") -> tuple[int, list[str]]:
    """Play seeds of random scenarios, or of a race. Return their number and the violations."""
    found: list[str] = []
    played = 0
    seeds = iter(seeds)
    while batch := list(islice(seeds, _BATCH)):
        for violated in in_a_child(partial(_violated, batch, race)):
            played += 1
            found += [violated] if violated else []
            if found and until_found:
                return played, found
    return played, found


def _violated(seeds: Iterable[int], race: str) -> list[str]:
    """Return the first violation of each seed that has one."""
    worlds = ((seed, races.play(race, seed) if race else play(seed)) for seed in seeds)
    return [f"seed {seed}: {world.violations[0][:400]}" if world.violations else "" for seed, world in worlds]


def in_a_child(work: Callable[[], list[str]]) -> list[str]:
    """Return what a forked child found.

    The child's worlds end with the child, which is a third faster than garbage collection.
    """
    reading, writing = os.pipe()
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        try:
            with open(writing, "w") as file:
                json.dump(work(), file)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    os.close(writing)
    with open(reading) as file:
        output = file.read()
    if os.waitpid(child, 0)[1]:
        raise RuntimeError("a child process that played seeds failed")
    found: list[str] = json.loads(output)
    return found


def within(seconds: float, first: int, least: int) -> Iterator[int]:
    """Yield seeds until the time is over, and at least `least` of them: a busy machine is slower."""
    end = time.perf_counter() + seconds
    for seed in count(first):
        if time.perf_counter() > end and seed >= first + least:
            return
        yield seed


def show(seed: int, *, digest: bool, race: str = "") -> int:
    """Print what happened under one seed."""
    world = races.play(race, seed) if race else play(seed)
    events = [(e["originator_id"], e["originator_version"], e["topic"], e["recorded_at"]) for e in world.server.events]
    if digest:
        history = repr((world.loop.steps, world.trace, events, world.violations))
        print(hashlib.sha256(history.encode()).hexdigest())
    else:
        print("\n".join(world.trace))
        print(f"{world.loop.time():.1f} s, {world.loop.steps} steps, {len(events)} events")
        print("\n".join(world.violations) or "all invariants hold")
    return 1 if world.violations else 0


def plant(names: Iterable[str], seeds: int) -> int:
    """Plant bugs one at a time, and print the seed that finds each. Return 1 if a bug is not found."""
    missed = 0
    for name in names:
        with MUTATIONS[name]():
            played, found = search(range(1, seeds + 1), until_found=True, race=SOUGHT_BY.get(name, ""))
        print(f"{name}: {found[0] if found else f'not found by {played} seeds'}", flush=True)
        missed += not found
    return int(missed > 0)


def compete(names: Iterable[str], seeds: int) -> int:
    """Run each race `seeds` times, and print its violations."""
    failed = 0
    for name in names:
        played, found = search(range(1, seeds + 1), race=name)
        shown = [_replayed(sentence, f"--race {name} ") for sentence in found[:_SHOWN]]
        print(f"== {name}: {played} trials, {len(found)} violated something", *shown, sep="\n", flush=True)
        failed += len(found)
    return int(failed > 0)


def _replayed(sentence: str, of: str = "") -> str:
    """Return a violation with the command that replays it."""
    return f"  {sentence}\n  replay it: python -m tests.simulation {of}--seed {sentence.split()[1].rstrip(':')}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", epilog=__doc__)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--digest", action="store_true")
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--least", type=int, default=0)
    parser.add_argument("--corpus", action="store_true")
    parser.add_argument("--mutation", nargs="+", choices=[*sorted(MUTATIONS), "all"])
    parser.add_argument("--race", nargs="+", choices=[*sorted(races.RACES), "all"])
    parser.add_argument("--seeds", type=int, default=400)
    options = parser.parse_args()
    competing = sorted(races.RACES) if options.race == ["all"] else options.race or []
    if options.seed is not None:
        return show(options.seed, digest=options.digest, race=competing[0] if competing else "")
    if competing:
        return compete(competing, options.seeds)
    if options.mutation:
        return plant(MUTATIONS if "all" in options.mutation else options.mutation, options.seeds)
    began = time.perf_counter()
    played, found = search(corpus() if options.corpus else within(options.seconds, options.first, options.least))
    for sentence in found[:_SHOWN]:
        print(_replayed(sentence))
    print(f"{played} seeds, {len(found)} violated something, {time.perf_counter() - began:.1f} s")
    return int(bool(found))


def prepare_interpreter() -> None:
    """Prepare the interpreter: fixed hashes, and garbage collection only on request.

    Scenarios begin in the night in which the clocks of this time zone are set forward: no code may depend on local
    time.
    """
    if os.environ.get("PYTHONHASHSEED") != "0":
        os.environ |= {"PYTHONHASHSEED": "0", "TZ": "Europe/Berlin"}
        os.execv(sys.executable, [sys.executable, "-m", "tests.simulation", *sys.argv[1:]])  # noqa: S606
    silence()
    warnings.simplefilter("ignore")  # coroutines that killed nodes never awaited
    sys.unraisablehook = lambda _: None  # the same coroutines, when they are collected
    gc.disable()
    gc.freeze()


if __name__ == "__main__":
    prepare_interpreter()
    sys.exit(main())

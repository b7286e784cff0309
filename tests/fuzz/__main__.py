"""`make fuzz`: fuzzes a fresh instance for some minutes, by its OpenAPI documents and by raw bytes.

Fails if an answer breaks the contract or is missing, a process ends, the log has an error, or memory grows.
"""

import argparse
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from tests.fuzz.raw import RawFuzzer, case, play
from tests.fuzz.requests import World, world
from tests.fuzz.schemas import SchemaFuzzer
from tests.fuzz.watch import Watch
from tests.instance import AnnalsInstance

ADMIN = "fuzz@example.test"


def fuzz(instance: AnnalsInstance, *, minutes: float, seed: int, only: str = "") -> list[str]:
    """Run both fuzzers side by side, print their coverage, and return their findings."""
    made = world(instance)
    raw, schemas = RawFuzzer(made, seed), SchemaFuzzer(instance, made, seed)
    runs: dict[str, Callable[..., None]] = {"raw": raw.run, "schema": schemas.run}
    with Watch(instance) as watch:
        threads = [
            threading.Thread(target=run, kwargs={"seconds": minutes * 60})
            for name, run in runs.items()
            if only in {"", name}
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    print(f"raw: {raw.cases} connections, answers {dict(sorted(raw.statuses.items()))}")
    print(schemas.summary())
    print(f"memory of the API: {[round(size / 1e6) for size in watch.memory[:: max(1, len(watch.memory) // 12)]]} MB")
    return [*map(str, raw.findings), *schemas.findings, *watch.faults()]


def replay(made: World, instance: AnnalsInstance, *, seed: int, number: int) -> list[str]:
    """Play one case of the raw fuzzer, print it, and return the faults."""
    one = case(seed, number, made)
    with Watch(instance) as watch:
        outcome = play(made.endpoint, one)
    print(f"{one}\n\n" + "\n".join(f"{answer.status} {answer.body[:500]!r}" for answer in outcome.answers))
    return [*([outcome.fault] if outcome.fault else []), *watch.faults()]


def main() -> None:
    options = argparse.ArgumentParser(prog="make fuzz ARGS=…", description=__doc__)
    options.add_argument("--minutes", type=float, default=10)
    options.add_argument("--seed", type=int, default=int(time.time()))
    options.add_argument("--case", type=int, help="play this case of the raw fuzzer alone")
    options.add_argument("--only", choices=("raw", "schema"), default="", help="run one of the two fuzzers")
    chosen = options.parse_args()
    print(f"seed {chosen.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="annals-fuzz-", dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        instance = AnnalsInstance.start(
            folder / "data", "--driver", "sandbox", environment={"ANNALS_ADMIN_EMAIL": ADMIN}
        )
        try:
            if chosen.case is None:
                found = fuzz(instance, minutes=chosen.minutes, seed=chosen.seed, only=chosen.only)
            else:
                found = replay(world(instance), instance, seed=chosen.seed, number=chosen.case)
        finally:
            instance.stop()
    print("\n".join(found) or "found nothing")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()

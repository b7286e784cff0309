"""`make test`: every tier in its order; those that share no machine-wide thing run side by side, by file.

Arguments go to pytest as they are, and then it is one plain run of what they name.
"""

import os
import subprocess
import sys
import time
from typing import NamedTuple


class Part(NamedTuple):
    """Tiers that one pytest run holds; `processes` is None where one test at a time is wanted."""

    tiers: tuple[str, ...]
    processes: int | None


PARTS = (
    Part(("house", "unit", "integration", "replay", "simulation"), min(4, os.cpu_count() or 1)),
    Part(("contract", "api", "faults", "load"), None),
)
"""What the second part's tests share, kill or look for is the whole machine's."""


def main(arguments: list[str]) -> int:
    if arguments:
        return _pytest(arguments)
    started, codes = time.monotonic(), []
    for part in PARTS:
        spread = ["-n", str(part.processes), "--dist", "loadfile"] if part.processes else []
        codes.append(_pytest([*spread, *(f"tests/{tier}" for tier in part.tiers)]))
    print(f"\nthe whole suite: {time.monotonic() - started:.0f} s", flush=True)
    return max(codes)


def _pytest(arguments: list[str]) -> int:
    return subprocess.run([sys.executable, "-m", "pytest", *arguments], check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

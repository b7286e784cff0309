"""`make test`: every tier in its order; tiers without machine-wide effects run side by side.

With arguments it is a single run of pytest, which gets the arguments unchanged.
"""

import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from typing import IO, NamedTuple


class Run(NamedTuple):
    """A pytest run of some tiers; `processes` is None if it runs one test at a time."""

    tiers: tuple[str, ...]
    processes: int | None = None

    @property
    def arguments(self) -> list[str]:
        spread = ["-n", str(self.processes), *BY_FILE] if self.processes else []
        return [*spread, *(f"tests/{tier}" for tier in self.tiers)]


PARTS = (
    (Run(("architecture", "unit", "integration", "replay", "simulation"), min(4, os.cpu_count() or 1)),),
    (Run(("contract",)), Run(("api",))),
    (Run(("faults", "load")),),
)
"""Parts run one after another, the runs of a part at the same time. The tests of the last part affect and inspect the
whole machine. The tests of the second part wait a lot, for a container engine and for the next minute. Each run has its
own executors, and their work folders distinguish their containers, networks and processes."""

BY_FILE = ("--dist", "loadfile", "--no-loadscope-reorder")
"""Files keep the order of the tiers, so the simulation comes last: each of its files fills two cores by itself."""


NOTICE = """\
The whole suite takes 25 to 50 minutes on two cores; `make test ARGS=tests/unit` runs a part (half a minute).
It starts databases, instances, sandboxes and containers of its own, below temporary folders and on free ports, fills
small disks of its own and ends what it started. A running instance goes on, but shares the processor with it.
"""


def main(arguments: list[str]) -> int:
    if arguments:
        return _started(arguments).wait()
    print(NOTICE, file=sys.stderr, flush=True)
    started = time.monotonic()
    codes = [code for part in PARTS for code in _side_by_side(part)]
    print(f"\nthe whole suite: {time.monotonic() - started:.0f} s", flush=True)
    return max(codes)


def _side_by_side(part: tuple[Run, ...]) -> list[int]:
    """Run all at once and return the exit codes; the first run prints live, the others print when it has ended."""
    with ExitStack() as stack:
        outputs = [stack.enter_context(tempfile.TemporaryFile()) for _ in part[1:]]
        others = [_started(run.arguments, output) for run, output in zip(part[1:], outputs, strict=True)]
        codes = [_started(part[0].arguments).wait()]
        for process, output in zip(others, outputs, strict=True):
            codes.append(process.wait())
            output.seek(0)
            sys.stdout.buffer.write(output.read())
            sys.stdout.flush()
    return codes


def _started(arguments: list[str], output: IO[bytes] | None = None) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-m", "pytest", *arguments], stdout=output, stderr=output)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

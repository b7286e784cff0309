"""`make test`: every tier in its order; those that share no machine-wide thing run side by side.

Arguments go to pytest as they are, and then it is one plain run of what they name.
"""

import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from typing import IO, NamedTuple


class Run(NamedTuple):
    """Tiers that one pytest run holds; `processes` is None where one test at a time is wanted."""

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
"""One after the other; the runs of a part at the same time. What the last part's tests kill, fill and look for is the
whole machine's. The second's wait a lot, for a container engine and for the next minute: each run has its own
executors, whose containers, networks and processes are told apart by their work folders."""

BY_FILE = ("--dist", "loadfile", "--no-loadscope-reorder")
"""In the tiers' order: the simulation's files come last, each of which fills two cores by itself."""


NOTICE = """\
The whole suite takes 25 to 50 minutes on two cores; `make test ARGS=tests/unit` runs a part (half a minute).
It starts databases, instances, sandboxes and containers of its own, below temporary folders and on free ports, fills
small disks of its own and ends what it started. A running instance goes on, but shares the processor with it.
"""


def main(arguments: list[str]) -> int:
    if arguments:
        return _begun(arguments).wait()
    print(NOTICE, file=sys.stderr, flush=True)
    started = time.monotonic()
    codes = [code for part in PARTS for code in _side_by_side(part)]
    print(f"\nthe whole suite: {time.monotonic() - started:.0f} s", flush=True)
    return max(codes)


def _side_by_side(part: tuple[Run, ...]) -> list[int]:
    """The exit codes; the first run speaks as it goes, the others once it has ended."""
    with ExitStack() as stack:
        outputs = [stack.enter_context(tempfile.TemporaryFile()) for _ in part[1:]]
        others = [_begun(run.arguments, output) for run, output in zip(part[1:], outputs, strict=True)]
        codes = [_begun(part[0].arguments).wait()]
        for process, output in zip(others, outputs, strict=True):
            codes.append(process.wait())
            output.seek(0)
            sys.stdout.buffer.write(output.read())
            sys.stdout.flush()
    return codes


def _begun(arguments: list[str], output: IO[bytes] | None = None) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-m", "pytest", *arguments], stdout=output, stderr=output)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""`make bench`: measures a fresh instance, each figure with its floor of the same run; writes results.json."""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench import analytics, append, as_of, cold, flood, memory, proof, reads, replay, runs
from bench.floors import durable_insert, median_rate
from bench.instance import Instance, running
from bench.results import Figure, machine, say, show, write

RESULTS = Path(__file__).with_name("results.json")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="run the groups whose name contains this")
    parser.add_argument("--output", type=Path, default=RESULTS, help="where the results go")
    parser.add_argument("--executions", type=int, default=1_000_000, help="executions in the history of `usage`")
    options = parser.parse_args()
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="annals-bench-") as data:
        with running(data=Path(data)):
            pass  # the first start creates the cluster; the figure measures the second start
        with running(data=Path(data)) as instance:
            fsync_ms = 1000 / median_rate(lambda: durable_insert(instance.database_url))
            about = machine(fsync_ms)
            for name, group in _groups(instance, fsync_ms, options.executions).items():
                if options.only in name:
                    started = time.perf_counter()
                    figures += group()
                    say(f"{name}: {time.perf_counter() - started:.0f} s")
    figures = [figure.judged() for figure in figures]
    if not options.only:
        write(options.output, about, figures)
    show(figures)


def _groups(instance: Instance, fsync_ms: float, executions: int) -> dict[str, Callable[[], list[Figure]]]:
    """Return the groups in their order: memory before any call, lists of executions after many executions."""
    return {
        "memory": lambda: memory.figures(instance),
        "append": lambda: append.figures(instance.database_url),
        "reads": lambda: reads.figures(instance),
        "writes": lambda: reads.write_figures(instance, fsync_ms),
        "builds": lambda: runs.deploy_hellos(instance),
        "warm": lambda: runs.warm(instance, fsync_ms),
        "cold": lambda: cold.figures(instance),
        "burst": lambda: runs.burst(instance),
        "flood": lambda: flood.figures(instance),
        "async": lambda: runs.asynchronous(instance, fsync_ms),
        "stored": lambda: reads.after_executions(instance, "hello-node"),
        "as_of": lambda: as_of.figures(instance),
        "replay": lambda: replay.figures(instance.database_url),
        "proof": lambda: proof.figures(instance.database_url),
        "usage": lambda: analytics.figures(instance.database_url, executions),
    }


if __name__ == "__main__":
    main()

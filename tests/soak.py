"""`make soak`: constant load and random faults for a long time, and whether anything grows that should not.

Prints a line a minute, and at the end what was measured; fails when something grew, was lost, or is left behind.
"""

import argparse
import os
import random
import signal
import statistics
import sys
import tempfile
import time
from pathlib import Path

import psycopg

from annals.app.cli.folders import Folders
from tests.client import Client
from tests.faults import invariants
from tests.faults.calling import Load
from tests.instance import AnnalsInstance, eventually

HELLO = "module.exports = async ({ res }) => res.text('hello')"
ROLES = ("api1", "api2", "worker1", "keeper", "executor", "valkey", "nursery")
GROWTH = 1.25
"""How much of a measure's first third its last third may be at most, beyond what a few samples vary by."""

SLACK = {"megabytes": 60.0, "descriptors": 60.0, "postgres": 192.0, "open": 50.0, "leases": 4.0}
"""Postgres fills its shared buffers, and each backend remembers the tables it has met, before it is flat."""

Sample = dict[str, float]


def sample(instance: AnnalsInstance) -> Sample:
    """Proportional memory and descriptors of our processes, Postgres's memory, and rows that must not gather.

    Postgres's descriptors are left out: each backend keeps the files of every table open that it has met, on purpose.
    """
    family = instance.family()
    postgres = [pid for pid in family if _is_postgres(pid)]
    ours = [pid for pid in family if pid not in postgres]
    with psycopg.connect(instance.database_url, autocommit=True) as conn:
        waiting = conn.execute("SELECT count(*) FROM executions WHERE status IN ('waiting', 'processing')").fetchone()
        leases = conn.execute("SELECT count(*) FROM leases").fetchone()
    assert waiting is not None
    assert leases is not None
    return {
        "megabytes": sum(_memory(pid) for pid in ours) / 1024,
        "descriptors": float(sum(_descriptors(pid) for pid in ours)),
        "postgres": sum(_memory(pid) for pid in postgres) / 1024,
        "open": float(waiting[0]),
        "leases": float(leases[0]),
    }


def _is_postgres(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip() == "postgres"
    except OSError:
        return False


def _memory(pid: int) -> int:
    """Kibibytes, shared pages counted by their share."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def _descriptors(pid: int) -> int:
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return 0


def hurt(instance: AnnalsInstance, chance: random.Random) -> str:
    """Kill or pause one process; a pause ends before the lease does."""
    folders = Folders(instance.data)
    role = chance.choice(ROLES)
    pid = next((row.pid for row in folders.processes() if row.role == role and row.state == "ready"), None)
    if pid is None:
        return f"{role} is just being started"
    if chance.random() < 0.5:
        os.kill(pid, signal.SIGKILL)
        return f"killed {role}"
    os.kill(pid, signal.SIGSTOP)
    time.sleep(chance.uniform(0.5, 6))
    os.kill(pid, signal.SIGCONT)
    return f"paused {role}"


def grown(samples: list[Sample]) -> list[str]:
    """What is more in the last third than the first allows."""
    third = max(1, len(samples) // 3)
    found = []
    for name, slack in SLACK.items():
        first = statistics.median(one[name] for one in samples[:third])
        last = statistics.median(one[name] for one in samples[-third:])
        print(f"{name:12} {first:10.1f} at first, {last:10.1f} at last")
        if last > first * GROWTH + slack:
            found.append(name)
    return found


def soak(instance: AnnalsInstance, minutes: float, rate: int, seed: int) -> bool:
    """Whether all was well."""
    chance, samples = random.Random(seed), []
    client = Client(instance.endpoint, instance.headers)
    client.function("hello", HELLO)
    load = Load(instance, requests_a_second=rate)
    ends = time.monotonic() + minutes * 60
    with load.running():
        while time.monotonic() < ends:
            until = time.monotonic() + 20
            what = hurt(instance, chance)
            time.sleep(max(0.0, until - time.monotonic()))
            samples.append(sample(instance))
            told = ", ".join(f"{name} {value:.0f}" for name, value in samples[-1].items())
            print(f"{what}; answered {load.answered}, failed {len(load.failed)}; {told}", flush=True)
    growing = grown(samples)
    eventually(lambda: sample(instance)["open"] == 0, 120)
    began = time.monotonic()
    invariants.hold(instance, reading_seconds=minutes * 60 + invariants.COMMAND_SECONDS)
    print(f"the invariants hold, checked in {time.monotonic() - began:.0f} s")
    print(f"grew: {growing or 'nothing'}; calls that a kill broke off: {len(load.failed)} of {load.answered}")
    return not growing


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--minutes", type=float, default=30)
    options.add_argument("--rate", type=int, default=100, help="requests a second")
    options.add_argument("--seed", type=int, default=int(time.time()))
    chosen = options.parse_args()
    print(f"seed {chosen.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="annals-soak-", dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        running = AnnalsInstance.start(folder / "data", "--driver", "sandbox")
        try:
            well = soak(running, chosen.minutes, chosen.rate, chosen.seed)
        finally:
            running.stop()
    sys.exit(0 if well else 1)


if __name__ == "__main__":
    main()

"""`make soak`: constant load and random faults for a long time; fails if a measure grows without bound.

Prints a line for each fault, and the measures at the end. Fails also if data was lost or left behind, if a call failed
that no fault explains, or if too many calls failed.
"""

import argparse
import contextlib
import os
import random
import signal
import statistics
import sys
import tempfile
import time
from pathlib import Path

import httpx
import psycopg
import redis

from annals.supervisor.folders import Folders
from tests.client import Client
from tests.faults import invariants, leftovers
from tests.faults.steady_load import Fault, Load, unexcused
from tests.instance import AnnalsInstance, eventually

HELLO = "module.exports = async ({ res }) => res.text('hello')"
ROLES = ("api1", "api2", "worker1", "keeper", "executor", "valkey", "nursery", "postgres")
MOST_FAILED = 0.02
"""The share of calls that may fail; while Postgres is paused, every call fails after its time limit."""

GROWTH = 1.25
"""The greatest allowed ratio of a measure's last third to its first third, beyond the slack for variation."""

SLACK = {
    "megabytes": 60.0,
    "descriptors": 60.0,
    "postgres": 192.0,
    "open": 50.0,
    "leases": 4.0,
    "idempotency_keys": 0.0,
    "contents": 0.0,
    "tries": 4.0,
    "queued": 200.0,
}
"""The slack of each measure. Postgres grows at first: it fills its shared buffers and its backends' table caches."""

ROW_COUNTS = {
    "open": "SELECT count(*) FROM executions WHERE status IN ('waiting', 'processing')",
    "leases": "SELECT count(*) FROM leases",
    "idempotency_keys": "SELECT count(*) FROM idempotency_keys",
    "contents": (
        "SELECT count(*) FROM contents WHERE stream NOT IN"
        " (SELECT stream_id FROM executions UNION ALL SELECT stream_id FROM deployments)"
    ),
    "tries": "SELECT count(*) FROM sign_in_tries",
}
"""Queries that count rows which must not accumulate. Contents of an execution or a deployment are left out."""

Sample = dict[str, float]


def sample(instance: AnnalsInstance) -> Sample:
    """Return proportional memory and descriptors of Annals' processes, Postgres's memory, and the counts of rows.

    Postgres's descriptors are left out: each backend keeps the files of its tables open on purpose.
    """
    family = instance.family()
    postgres = [pid for pid in family if _is_postgres(pid)]
    ours = [pid for pid in family if pid not in postgres]
    return {
        "megabytes": sum(_memory(pid) for pid in ours) / 1024,
        "descriptors": float(sum(_descriptors(pid) for pid in ours)),
        "postgres": sum(_memory(pid) for pid in postgres) / 1024,
        **eventually(lambda: gathered(instance)),
    }


def gathered(instance: AnnalsInstance) -> Sample:
    """Return the counts of rows and queue keys, or nothing while Postgres or Valkey restarts."""
    url = leftovers.running(instance).settings["ANNALS_REDIS_URL"]
    try:
        with psycopg.connect(instance.database_url, autocommit=True) as conn, redis.Redis.from_url(url) as queue:
            found = {name: conn.execute(query).fetchone() for name, query in ROW_COUNTS.items()}
            return {name: float(row[0]) for name, row in found.items() if row} | {"queued": float(queue.dbsize())}
    except (psycopg.OperationalError, redis.RedisError):
        return {}


def _is_postgres(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip() == "postgres"
    except OSError:
        return False


def _memory(pid: int) -> int:
    """Return the memory of a process in KiB; a shared page counts in proportion."""
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


def inject_fault(instance: AnnalsInstance, chance: random.Random) -> tuple[str, Fault]:
    """Kill or pause one process; a pause ends before the lease does."""
    folders, began = Folders(instance.data), time.monotonic()
    role = chance.choice(ROLES)
    pid = next((row.pid for row in folders.processes() if row.role == role and row.state == "ready"), None)
    if pid is None:
        return f"{role} is still starting", Fault(role, began, began)
    if chance.random() < 0.5:
        os.kill(pid, signal.SIGKILL)
        return f"killed {role}", Fault(role, began, began)
    os.kill(pid, signal.SIGSTOP)
    time.sleep(chance.uniform(0.5, 6))
    os.kill(pid, signal.SIGCONT)
    return f"paused {role}", Fault(role, began, time.monotonic())


def guess(instance: AnnalsInstance) -> None:
    """Try a wrong password, which the sign-in throttle counts."""
    with contextlib.suppress(httpx.TransportError):
        sent = {"email": "guessed@example.test", "password": "wrong horse"}
        headers = {"x-appwrite-project": instance.project}
        httpx.post(f"{instance.endpoint}/account/sessions/email", json=sent, headers=headers, timeout=100)


def grown(samples: list[Sample]) -> list[str]:
    """Return the measures whose last third exceeds the bound that the first third sets."""
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
    """Return True if no measure grew and no call failed without an explanation."""
    chance, samples, faults = random.Random(seed), list[Sample](), list[Fault]()
    client = Client(instance.endpoint, instance.headers)
    client.function("hello", HELLO)
    load = Load(instance, requests_a_second=rate)
    ends = time.monotonic() + minutes * 60
    with load.running():
        while time.monotonic() < ends:
            until = time.monotonic() + 20
            description, fault = inject_fault(instance, chance)
            faults.append(fault)
            guess(instance)
            time.sleep(max(0.0, until - time.monotonic()))
            samples.append(sample(instance))
            measures = ", ".join(f"{name} {value:.0f}" for name, value in samples[-1].items())
            print(f"{description}; answered {load.answered}, failed {len(load.failures)}; {measures}", flush=True)
    growing = grown(samples)
    eventually(lambda: sample(instance)["open"] == 0, 120)
    began = time.monotonic()
    invariants.check_all(instance, reading_seconds=minutes * 60 + invariants.COMMAND_SECONDS)
    print(f"the invariants hold, checked in {time.monotonic() - began:.0f} s")
    unexplained, failed = unexcused(load.failures, faults), len(load.failures)
    print(f"grew: {growing or 'nothing'}; failed calls: {failed} of {load.answered}")
    print("\n".join(unexplained[:10]) or "a fault explains each of them")
    return not growing and not unexplained and failed <= MOST_FAILED * load.answered


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
            passed = soak(running, chosen.minutes, chosen.rate, chosen.seed)
        finally:
            running.stop()
    sys.exit(0 if passed else 1)


if __name__ == "__main__":
    main()

"""`make soak`: constant load and random faults for a long time, and whether anything grows that should not.

Prints a line for each fault, and at the end what was measured; fails when something grew, was lost, or is left behind,
or when calls failed that no fault explains, or more than a few.
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
from tests.faults import atwork, invariants
from tests.faults.calling import Load
from tests.faults.excuses import Fault, unexcused
from tests.instance import AnnalsInstance, eventually

HELLO = "module.exports = async ({ res }) => res.text('hello')"
ROLES = ("api1", "api2", "worker1", "keeper", "executor", "valkey", "nursery", "postgres")
MOST_FAILED = 0.02
"""The share of calls that may fail at all; while Postgres is paused, all do that have waited long enough."""

GROWTH = 1.25
"""How much of a measure's first third its last third may be at most, beyond what a few samples vary by."""

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
"""Postgres fills its shared buffers, and each backend remembers the tables it has met, before it is flat."""

GATHERING = {
    "open": "SELECT count(*) FROM executions WHERE status IN ('waiting', 'processing')",
    "leases": "SELECT count(*) FROM leases",
    "idempotency_keys": "SELECT count(*) FROM idempotency_keys",
    "contents": (
        "SELECT count(*) FROM contents WHERE stream NOT IN"
        " (SELECT stream_id FROM executions UNION ALL SELECT stream_id FROM deployments)"
    ),
    "tries": "SELECT count(*) FROM sign_in_tries",
}
"""Contents are counted that belong to nothing, since each execution may have some."""

Sample = dict[str, float]


def sample(instance: AnnalsInstance) -> Sample:
    """Proportional memory and descriptors of our processes, Postgres's memory, and rows that must not gather.

    Postgres's descriptors are left out: each backend keeps the files of every table open that it has met, on purpose.
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
    """Rows and keys that are not to gather; nothing while Postgres or Valkey is being started again."""
    url = atwork.running(instance).settings["ANNALS_REDIS_URL"]
    try:
        with psycopg.connect(instance.database_url, autocommit=True) as conn, redis.Redis.from_url(url) as queue:
            found = {name: conn.execute(query).fetchone() for name, query in GATHERING.items()}
            return {name: float(row[0]) for name, row in found.items() if row} | {"queued": float(queue.dbsize())}
    except (psycopg.OperationalError, redis.RedisError):
        return {}


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


def hurt(instance: AnnalsInstance, chance: random.Random) -> tuple[str, Fault]:
    """Kill or pause one process; a pause ends before the lease does."""
    folders, began = Folders(instance.data), time.monotonic()
    role = chance.choice(ROLES)
    pid = next((row.pid for row in folders.processes() if row.role == role and row.state == "ready"), None)
    if pid is None:
        return f"{role} is just being started", Fault(role, began, began)
    if chance.random() < 0.5:
        os.kill(pid, signal.SIGKILL)
        return f"killed {role}", Fault(role, began, began)
    os.kill(pid, signal.SIGSTOP)
    time.sleep(chance.uniform(0.5, 6))
    os.kill(pid, signal.SIGCONT)
    return f"paused {role}", Fault(role, began, time.monotonic())


def guess(instance: AnnalsInstance) -> None:
    """Somebody tries a password, of which turns are counted."""
    with contextlib.suppress(httpx.TransportError):
        sent = {"email": "guessed@example.test", "password": "wrong horse"}
        headers = {"x-appwrite-project": instance.project}
        httpx.post(f"{instance.endpoint}/account/sessions/email", json=sent, headers=headers, timeout=100)


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
    chance, samples, faults = random.Random(seed), list[Sample](), list[Fault]()
    client = Client(instance.endpoint, instance.headers)
    client.function("hello", HELLO)
    load = Load(instance, requests_a_second=rate)
    ends = time.monotonic() + minutes * 60
    with load.running():
        while time.monotonic() < ends:
            until = time.monotonic() + 20
            what, fault = hurt(instance, chance)
            faults.append(fault)
            guess(instance)
            time.sleep(max(0.0, until - time.monotonic()))
            samples.append(sample(instance))
            told = ", ".join(f"{name} {value:.0f}" for name, value in samples[-1].items())
            print(f"{what}; answered {load.answered}, failed {len(load.failures)}; {told}", flush=True)
    growing = grown(samples)
    eventually(lambda: sample(instance)["open"] == 0, 120)
    began = time.monotonic()
    invariants.hold(instance, reading_seconds=minutes * 60 + invariants.COMMAND_SECONDS)
    print(f"the invariants hold, checked in {time.monotonic() - began:.0f} s")
    strange, failed = unexcused(load.failures, faults), len(load.failures)
    print(f"grew: {growing or 'nothing'}; calls that faults broke off: {failed} of {load.answered}")
    print("\n".join(strange[:10]) or "each near a fault that explains it")
    return not growing and not strange and failed <= MOST_FAILED * load.answered


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

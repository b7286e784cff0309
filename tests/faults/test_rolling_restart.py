"""Every process replaced, one after another, under load: nobody who calls notices."""

import contextlib
import os
import signal
import time
from collections.abc import Iterator

import psycopg
import pytest

from annals.settings import Settings
from annals.supervisor.folders import Folders
from tests.client import Client
from tests.faults import invariants
from tests.faults.calling import Load
from tests.faults.stage import alone
from tests.instance import AnnalsInstance, eventually

pytestmark = pytest.mark.timeout(300)
ROLES = ("api1", "api2", "worker1", "keeper", "executor", "valkey", "nursery", "postgres")
ASKED = {"postgres": signal.SIGINT}
"""What asks a process to end, where it is not SIGTERM: Postgres would wait until everybody has left by himself."""

HELLO = "module.exports = async ({ res }) => res.text('hello')"
CALM_SECONDS = 5
WAIT_SECONDS = Settings().database_patience_s
RATE, MOST = 150, 0.5
"""Answers a second throughout, or where a machine has fewer in calm, so much of what it has."""


@pytest.fixture
def instance() -> Iterator[AnnalsInstance]:
    with alone(ANNALS_LEASE_S="4") as running:
        yield running


def restarted(instance: AnnalsInstance, role: str) -> float:
    """Ask a process to end, and wait until another does its work; for how long nobody reached Postgres meanwhile."""
    folders = Folders(instance.data)
    former = next(row.pid for row in folders.processes() if row.role == role)
    os.kill(former, ASKED.get(role, signal.SIGTERM))
    began = time.monotonic()
    eventually(lambda: reached(instance), 60)
    away = time.monotonic() - began

    def back() -> bool:
        return any(row.role == role and row.pid != former and row.state == "ready" for row in folders.processes())

    eventually(back, 60)
    return away


def reached(instance: AnnalsInstance) -> bool:
    with contextlib.suppress(psycopg.OperationalError), psycopg.connect(instance.database_url, connect_timeout=60):
        return True
    return False


def test_nobody_notices_that_every_process_is_replaced(instance: AnnalsInstance, client: Client) -> None:
    client.function("hello", HELLO)
    client.execute("hello")
    load = Load(instance)
    with load.running():
        began = time.monotonic()
        time.sleep(CALM_SECONDS)
        calm = load.answered / (time.monotonic() - began)
        began, before, away = time.monotonic(), load.answered, 0.0
        for role in ROLES:
            so_far = load.answered
            away = max(away, restarted(instance, role))
            eventually(lambda so_far=so_far: load.answered > so_far + 150)  # type: ignore[misc]
        rate = (load.answered - before) / (time.monotonic() - began)

    assert [one for one in load.failed if away < WAIT_SECONDS / 2 or ": 503 " not in one] == []
    assert rate >= min(RATE, calm * MOST), f"{rate:.0f} answers a second, and {calm:.0f} in calm"
    invariants.settled(instance)
    ends = invariants.executions(instance)
    assert ends["execution.completed"] == ends["execution.requested"] > len(load.later)

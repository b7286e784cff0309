"""A rolling restart of every process under load, in which no call fails."""

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
from tests.faults.stage import checked_instance
from tests.faults.steady_load import Load
from tests.instance import AnnalsInstance, eventually

pytestmark = pytest.mark.timeout(300)
ROLES = ("api1", "api2", "worker1", "keeper", "executor", "valkey", "nursery", "postgres")
STOP_SIGNALS = {"postgres": signal.SIGINT}
"""The signals that stop a process, if not SIGTERM: on SIGTERM Postgres waits until all clients have disconnected."""

HELLO = "module.exports = async ({ res }) => res.text('hello')"
CALM_SECONDS = 5
WAIT_SECONDS = Settings().database_patience_s
RATE, SHARE = 150, 0.5
"""The least answers a second during the restarts; a slower machine needs this share of its rate before them."""


@pytest.fixture
def instance() -> Iterator[AnnalsInstance]:
    with checked_instance(ANNALS_LEASE_S="4") as running:
        yield running


def restarted(instance: AnnalsInstance, role: str) -> float:
    """Stop a process, wait until another one replaces it, and return for how long Postgres was unreachable."""
    folders = Folders(instance.data)
    former = next(row.pid for row in folders.processes() if row.role == role)
    os.kill(former, STOP_SIGNALS.get(role, signal.SIGTERM))
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


def test_rolling_restart_of_every_process_fails_no_call(instance: AnnalsInstance, client: Client) -> None:
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

    assert [text for text in load.failed if away < WAIT_SECONDS / 2 or ": 503 " not in text] == []
    assert rate >= min(RATE, calm * SHARE), f"{rate:.0f} answers a second, and {calm:.0f} before the restarts"
    invariants.check_idle(instance)
    ends = invariants.executions(instance)
    assert ends["execution.completed"] == ends["execution.requested"] > len(load.asynchronous_ids)

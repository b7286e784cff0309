"""Every process replaced, one after another, under load: nobody who calls notices."""

import os
import signal
from collections.abc import Iterator

import pytest

from annals.app.cli.folders import Folders
from tests.client import Client
from tests.faults import invariants
from tests.faults.calling import Load
from tests.instance import AnnalsInstance, eventually, instance_of_its_own

pytestmark = pytest.mark.timeout(300)
ROLES = ("api1", "api2", "worker1", "keeper", "executor", "valkey", "nursery", "postgres")
ASKED = {"postgres": signal.SIGINT}
"""What asks a process to end, where it is not SIGTERM: Postgres would wait until everybody has left by himself."""

HELLO = "module.exports = async ({ res }) => res.text('hello')"


@pytest.fixture
def instance() -> Iterator[AnnalsInstance]:
    with instance_of_its_own(ANNALS_LEASE_S="4", ANNALS_DATABASE_PATIENCE_S="60") as running:
        yield running


def restarted(instance: AnnalsInstance, role: str) -> None:
    """Ask a process to end, and wait until another does its work."""
    folders = Folders(instance.data)
    former = next(row.pid for row in folders.processes() if row.role == role)
    os.kill(former, ASKED.get(role, signal.SIGTERM))

    def back() -> bool:
        return any(row.role == role and row.pid != former and row.state == "ready" for row in folders.processes())

    eventually(back, 60)


def test_nobody_notices_that_every_process_is_replaced(instance: AnnalsInstance) -> None:
    client = Client(instance.endpoint, instance.headers)
    client.function("hello", HELLO)
    client.execute("hello")
    load = Load(instance)
    with load.running():
        for role in ROLES:
            before = load.answered
            restarted(instance, role)
            eventually(lambda before=before: load.answered > before + 150)  # type: ignore[misc]

    assert load.failed == []
    assert load.answered > 1000
    invariants.hold(instance)
    ends = invariants.executions(instance)
    assert ends["execution.completed"] == ends["execution.requested"] > len(load.later)

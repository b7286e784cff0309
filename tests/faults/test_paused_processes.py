"""Processes paused beyond their leases and woken again: others took over, and what comes late is refused."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from tests.client import Client
from tests.instance import AnnalsInstance, eventually, instance_of_its_own

pytestmark = pytest.mark.timeout(600)
TAKEN_UP_SECONDS = 90
"""What a paused process had in hand is taken up again; three times what is promised, for machines that are slower."""

SLEEP = (
    "module.exports = async ({ req, res }) => { await new Promise(r => setTimeout(r, 8000)); return res.text('late') }"
)
HELLO = "module.exports = async ({ res }) => res.text('hello')"


@pytest.fixture(scope="module")
def instance() -> Iterator[AnnalsInstance]:
    with instance_of_its_own(ANNALS_LEASE_S="5", ANNALS_WORKERS="2") as running:
        yield running


@pytest.fixture
def client(instance: AnnalsInstance) -> Client:
    return Client(instance.endpoint, instance.headers)


@contextmanager
def paused(*pids: int) -> Iterator[None]:
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def workers_of(instance: AnnalsInstance) -> list[int]:
    return [row["pid"] for row in instance.processes() if row["role"].startswith("worker")]


def builder_of(instance: AnnalsInstance) -> int:
    """The worker that says it has a build in hand; 0 where none does, or not yet."""
    with psycopg.connect(instance.database_url) as conn:
        found = conn.execute("SELECT pid FROM leases WHERE doing LIKE '%builds%'").fetchone()
    return int(found[0]) if found else 0


def test_a_paused_workers_executions_end_and_its_late_outcomes_are_refused(
    instance: AnnalsInstance, client: Client
) -> None:
    client.function("sleeper", SLEEP, timeout=30)
    workers = workers_of(instance)
    made = [client.execute("sleeper", **{"async": True})["$id"] for _ in range(6)]
    eventually(lambda: all(client.execution("sleeper", one)["status"] == "processing" for one in made))

    with paused(*workers):
        eventually(lambda: all(client.execution("sleeper", one)["status"] == "failed" for one in made))

    client.function("awake", HELLO)
    after = client.execute("awake", **{"async": True})["$id"]
    eventually(lambda: client.execution("awake", after)["status"] == "completed")
    for one in made:
        ended = client.execution("sleeper", one)
        assert (ended["status"], ended["responseStatusCode"]) == ("failed", 500)
        assert "lost" in ended["errors"]


def test_a_paused_workers_build_is_built_by_another_one(instance: AnnalsInstance, client: Client) -> None:
    made = {"functionId": "built-twice", "name": "f", "runtime": "node-22", "entrypoint": "index.js"}
    client.call("POST", "/functions", json={**made, "commands": "echo begun; sleep 8; echo done"})
    deployment = client.deploy("built-twice", {"index.js": HELLO})
    eventually(lambda: "begun" in client.deployment("built-twice", deployment)["buildLogs"], 60)
    builder = eventually(lambda: builder_of(instance))

    with paused(builder):
        ended = client.built("built-twice", deployment, TAKEN_UP_SECONDS)

    assert ended["status"] == "ready", ended["buildLogs"]
    assert ended["buildLogs"].count("begun") == 1
    assert client.execute("built-twice")["responseBody"] == "hello"
    assert client.deployment("built-twice", deployment) == ended


def test_a_paused_keeper_does_not_hold_up_what_it_comes_back_to(instance: AnnalsInstance, client: Client) -> None:
    client.function("kept", HELLO)
    with paused(instance.pid_of("keeper")):
        made = client.execute("kept", **{"async": True})["$id"]
        assert client.execute("kept")["responseBody"] == "hello"

    eventually(lambda: client.execution("kept", made)["status"] == "completed")


def test_a_hung_executors_work_is_taken_up_again_once_it_answers(instance: AnnalsInstance, client: Client) -> None:
    client.function("hung", HELLO)
    executor = instance.pid_of("executor")
    made = {"functionId": "hung-build", "name": "f", "runtime": "node-22", "entrypoint": "index.js"}
    client.call("POST", "/functions", json={**made, "commands": "echo begun; sleep 3; echo done"})
    deployment = client.deploy("hung-build", {"index.js": HELLO})
    eventually(lambda: "begun" in client.deployment("hung-build", deployment)["buildLogs"], 60)

    with paused(executor):
        refused = client.execute("hung")
        eventually(lambda: client.deployment("hung-build", deployment)["status"] in {"waiting", "processing"})

    assert (refused["status"], refused["responseStatusCode"]) == ("failed", 500)
    ended = client.built("hung-build", deployment, TAKEN_UP_SECONDS)
    assert ended["status"] == "ready", ended["buildLogs"]
    assert client.execute("hung")["responseBody"] == "hello"

"""Processes paused beyond their leases and resumed: others have taken over, and late outcomes are refused."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from annals.supervisor.folders import Folders
from tests.client import Client
from tests.faults.stage import checked_instance, log_entries, paused
from tests.instance import AnnalsInstance, eventually, plain

pytestmark = pytest.mark.timeout(600)
TAKEN_UP_SECONDS = 90
"""The time limit for others to take up a paused process's work: three times the promise, for slow machines."""

SLEEP = (
    "module.exports = async ({ req, res }) => { await new Promise(r => setTimeout(r, 8000)); return res.text('late') }"
)
HELLO = "module.exports = async ({ res }) => res.text('hello')"


@pytest.fixture(scope="module")
def instance() -> Iterator[AnnalsInstance]:
    with checked_instance(ANNALS_LEASE_S="5", ANNALS_WORKERS="2", ANNALS_LOG_FORMAT="json") as running:
        yield running


def workers_of(instance: AnnalsInstance) -> list[int]:
    return [row["pid"] for row in instance.processes() if row["role"].startswith("worker")]


def refused(instance: AnnalsInstance, kind: str) -> set[tuple[str, int]]:
    """Return the executions or deployments whose outcomes were refused, with the epochs of their claims."""
    entries = [entry for entry in log_entries(instance.log, "outcome_refused") if kind in entry]
    return {(entry[kind].rpartition(":")[2], entry["epoch"]) for entry in entries}


def builder_of(instance: AnnalsInstance) -> int:
    """Return the pid of the worker that builds, or 0 if none does yet."""
    with psycopg.connect(instance.database_url) as conn:
        found = conn.execute("SELECT pid FROM leases WHERE doing LIKE '%builds%'").fetchone()
    return int(found[0]) if found else 0


def test_executions_of_a_paused_worker_fail_and_its_late_outcomes_are_refused(
    instance: AnnalsInstance, client: Client
) -> None:
    client.function("sleeper", SLEEP, timeout=30)
    workers = workers_of(instance)
    made = [client.execute("sleeper", **{"async": True})["$id"] for _ in range(6)]
    eventually(lambda: all(client.execution("sleeper", one)["status"] == "processing" for one in made))

    with paused(*workers):
        eventually(lambda: all(client.execution("sleeper", one)["status"] == "failed" for one in made))

    eventually(lambda: refused(instance, "execution") == {(one, 1) for one in made}, TAKEN_UP_SECONDS)
    client.function("awake", HELLO)
    after = client.execute("awake", **{"async": True})["$id"]
    eventually(lambda: client.execution("awake", after)["status"] == "completed")
    for one in made:
        ended = client.execution("sleeper", one)
        assert (ended["status"], ended["responseStatusCode"]) == ("failed", 500)
        assert "lost" in ended["errors"]


def test_build_of_a_paused_worker_is_finished_by_another_worker(instance: AnnalsInstance, client: Client) -> None:
    made = {"functionId": "built-twice", "name": "f", "runtime": "node-22", "entrypoint": "index.js"}
    client.call("POST", "/functions", json={**made, "commands": "echo begun; sleep 8; echo done"})
    deployment = client.deploy("built-twice", {"index.js": HELLO})
    eventually(lambda: "begun" in client.deployment("built-twice", deployment)["buildLogs"], 60)
    builder = eventually(lambda: builder_of(instance))

    with paused(builder):
        ended = client.built("built-twice", deployment, TAKEN_UP_SECONDS)

    eventually(lambda: refused(instance, "deployment") == {(deployment, 1)}, TAKEN_UP_SECONDS)
    assert ended["status"] == "ready", ended["buildLogs"]
    assert ended["buildLogs"].count("begun") == 1
    assert client.execute("built-twice")["responseBody"] == "hello"
    assert client.deployment("built-twice", deployment) == ended


def test_execution_accepted_while_the_keeper_is_paused_completes(instance: AnnalsInstance, client: Client) -> None:
    client.function("accepted", HELLO)
    with paused(instance.pid_of("keeper")):
        made = client.execute("accepted", **{"async": True})["$id"]
        assert client.execute("accepted")["responseBody"] == "hello"

    eventually(lambda: client.execution("accepted", made)["status"] == "completed")


@contextmanager
def second_keeper(instance: AnnalsInstance) -> Iterator["subprocess.Popen[bytes]"]:
    """Run one more keeper of the instance, as on another host."""
    running = Folders(instance.data).running()
    assert running is not None
    with instance.log.open("a") as log:
        argv = [sys.executable, "-m", "annals", "keeper", "--json"]
        process = subprocess.Popen(argv, env=plain(running.settings), stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def due_now(instance: AnnalsInstance, function: str) -> bool:
    """Make a known schedule due now, and return True if it was known."""
    query = "UPDATE schedules SET schedule_next = now() WHERE function_id = %s AND deployment_id <> ''"
    with psycopg.connect(instance.database_url, autocommit=True) as conn:
        return conn.execute(query, (function,)).rowcount == 1


def test_exactly_one_of_two_keepers_leads_through_a_pause_and_a_kill(instance: AnnalsInstance, client: Client) -> None:
    for name in ("slot-1", "slot-2"):
        client.function(name, HELLO, schedule="0 0 1 1 *")
    first = instance.pid_of("keeper")

    def shown() -> dict[int, str]:
        return {row["pid"]: row["doing"] for row in instance.processes() if row["role"] == "keeper"}

    def ran_once(name: str) -> None:
        def runs() -> list[str]:
            return [run["status"] for run in client.call("GET", f"/functions/{name}/executions")["executions"]]

        eventually(lambda: due_now(instance, name), TAKEN_UP_SECONDS)
        eventually(lambda: runs() == ["completed"], TAKEN_UP_SECONDS, explain=lambda: (runs(), shown()))

    with second_keeper(instance) as second:
        eventually(lambda: sorted(shown().values()) == ["leads", "stands by"], TAKEN_UP_SECONDS, explain=shown)
        with paused(first):
            eventually(lambda: shown().get(second.pid) == "leads", TAKEN_UP_SECONDS, explain=shown)
            ran_once("slot-1")
        eventually(lambda: sorted(shown().values()) == ["leads", "stands by"], TAKEN_UP_SECONDS, explain=shown)
    ran_once("slot-2")  # the second keeper was killed, so the first leads again
    for name in ("slot-1", "slot-2"):
        assert client.call("GET", f"/functions/{name}/executions")["total"] == 1


def test_build_on_a_hung_executor_is_taken_up_again(instance: AnnalsInstance, client: Client) -> None:
    client.function("hung", HELLO)
    executor = instance.pid_of("executor")
    made = {"functionId": "hung-build", "name": "f", "runtime": "node-22", "entrypoint": "index.js"}
    client.call("POST", "/functions", json={**made, "commands": "echo begun; sleep 3; echo done"})
    deployment = client.deploy("hung-build", {"index.js": HELLO})
    eventually(lambda: "begun" in client.deployment("hung-build", deployment)["buildLogs"], 60)

    with paused(executor):
        failed = client.execute("hung")
        eventually(lambda: client.deployment("hung-build", deployment)["status"] in {"waiting", "processing"})

    assert (failed["status"], failed["responseStatusCode"]) == ("failed", 500)
    ended = client.built("hung-build", deployment, TAKEN_UP_SECONDS)
    assert ended["status"] == "ready", ended["buildLogs"]
    assert client.execute("hung")["responseBody"] == "hello"

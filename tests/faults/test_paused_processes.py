"""Processes paused beyond their leases and woken again: others took over, and what comes late is refused."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from annals.supervisor.folders import Folders
from tests.client import Client
from tests.faults.stage import alone, paused, said
from tests.instance import AnnalsInstance, eventually, plain

pytestmark = pytest.mark.timeout(600)
TAKEN_UP_SECONDS = 90
"""What a paused process had in hand is taken up again; three times what is promised, for machines that are slower."""

SLEEP = (
    "module.exports = async ({ req, res }) => { await new Promise(r => setTimeout(r, 8000)); return res.text('late') }"
)
HELLO = "module.exports = async ({ res }) => res.text('hello')"


@pytest.fixture(scope="module")
def instance() -> Iterator[AnnalsInstance]:
    with alone(ANNALS_LEASE_S="5", ANNALS_WORKERS="2", ANNALS_LOG_FORMAT="json") as running:
        yield running


def workers_of(instance: AnnalsInstance) -> list[int]:
    return [row["pid"] for row in instance.processes() if row["role"].startswith("worker")]


def refused(instance: AnnalsInstance, kind: str) -> set[tuple[str, int]]:
    """The executions or deployments whose outcomes came too late, with the claims that they came under."""
    entries = [entry for entry in said(instance.log, "outcome_refused") if kind in entry]
    return {(entry[kind].rpartition(":")[2], entry["epoch"]) for entry in entries}


def builder_of(instance: AnnalsInstance) -> int:
    """The worker that says it has a build in hand; 0 where none does, or not yet."""
    with psycopg.connect(instance.database_url) as conn:
        found = conn.execute("SELECT pid FROM leases WHERE doing LIKE '%builds%'").fetchone()
    return int(found[0]) if found else 0


def test_paused_workers_executions_end_and_its_late_outcomes_are_refused(
    instance: AnnalsInstance, client: Client
) -> None:
    client.function("sleeper", SLEEP, timeout=30)
    workers = workers_of(instance)
    made = [client.execute("sleeper", **{"async": True})["$id"] for _ in range(6)]
    eventually(lambda: all(client.execution("sleeper", one)["status"] == "processing" for one in made))

    with paused(*workers):
        eventually(lambda: all(client.execution("sleeper", one)["status"] == "failed" for one in made))

    eventually(lambda: refused(instance, "execution") == {(one, 1) for one in made}, TAKEN_UP_SECONDS)  # they did try
    client.function("awake", HELLO)
    after = client.execute("awake", **{"async": True})["$id"]
    eventually(lambda: client.execution("awake", after)["status"] == "completed")
    for one in made:
        ended = client.execution("sleeper", one)
        assert (ended["status"], ended["responseStatusCode"]) == ("failed", 500)
        assert "lost" in ended["errors"]


def test_paused_workers_build_is_built_by_another_one(instance: AnnalsInstance, client: Client) -> None:
    made = {"functionId": "built-twice", "name": "f", "runtime": "node-22", "entrypoint": "index.js"}
    client.call("POST", "/functions", json={**made, "commands": "echo begun; sleep 8; echo done"})
    deployment = client.deploy("built-twice", {"index.js": HELLO})
    eventually(lambda: "begun" in client.deployment("built-twice", deployment)["buildLogs"], 60)
    builder = eventually(lambda: builder_of(instance))

    with paused(builder):
        ended = client.built("built-twice", deployment, TAKEN_UP_SECONDS)

    eventually(lambda: refused(instance, "deployment") == {(deployment, 1)}, TAKEN_UP_SECONDS)  # it did try
    assert ended["status"] == "ready", ended["buildLogs"]
    assert ended["buildLogs"].count("begun") == 1
    assert client.execute("built-twice")["responseBody"] == "hello"
    assert client.deployment("built-twice", deployment) == ended


def test_paused_keeper_does_not_hold_up_what_it_comes_back_to(instance: AnnalsInstance, client: Client) -> None:
    client.function("kept", HELLO)
    with paused(instance.pid_of("keeper")):
        made = client.execute("kept", **{"async": True})["$id"]
        assert client.execute("kept")["responseBody"] == "hello"

    eventually(lambda: client.execution("kept", made)["status"] == "completed")


@contextmanager
def second_keeper(instance: AnnalsInstance) -> Iterator["subprocess.Popen[bytes]"]:
    """One more keeper of the instance, as on another host; ended by its pid, if it has not been."""
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
    """Pretend, once the schedule is known, that its time has come."""
    query = "UPDATE schedules SET schedule_next = now() WHERE function_id = %s AND deployment_id <> ''"
    with psycopg.connect(instance.database_url, autocommit=True) as conn:
        return conn.execute(query, (function,)).rowcount == 1


def test_of_two_keepers_one_leads_whatever_becomes_of_the_other(instance: AnnalsInstance, client: Client) -> None:
    for name in ("slot-1", "slot-2"):
        client.function(name, HELLO, schedule="0 0 1 1 *")
    first = instance.pid_of("keeper")

    def told() -> dict[int, str]:
        return {row["pid"]: row["doing"] for row in instance.processes() if row["role"] == "keeper"}

    def ran_once(name: str) -> None:
        def runs() -> list[str]:
            return [run["status"] for run in client.call("GET", f"/functions/{name}/executions")["executions"]]

        eventually(lambda: due_now(instance, name), TAKEN_UP_SECONDS)
        eventually(lambda: runs() == ["completed"], TAKEN_UP_SECONDS, explain=lambda: (runs(), told()))

    with second_keeper(instance) as second:
        eventually(lambda: sorted(told().values()) == ["leads", "stands by"], TAKEN_UP_SECONDS, explain=told)
        with paused(first):
            eventually(lambda: told().get(second.pid) == "leads", TAKEN_UP_SECONDS, explain=told)
            ran_once("slot-1")
        eventually(lambda: sorted(told().values()) == ["leads", "stands by"], TAKEN_UP_SECONDS, explain=told)
    ran_once("slot-2")  # the second one was killed, so the first leads again
    for name in ("slot-1", "slot-2"):
        assert client.call("GET", f"/functions/{name}/executions")["total"] == 1


def test_hung_executors_work_is_taken_up_again_once_it_answers(instance: AnnalsInstance, client: Client) -> None:
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

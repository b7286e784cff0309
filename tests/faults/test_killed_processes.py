"""Processes killed in the middle of their work: accepted work ends, and acknowledged writes exist."""

import json
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
import redis

from annals.supervisor.folders import Folders
from tests.client import Client
from tests.faults import invariants
from tests.faults.blocked_followers import followers_blocked_at_commit, followers_blocked_mid_batch
from tests.faults.stage import checked_instance
from tests.faults.steady_load import Writers
from tests.instance import AnnalsInstance, annals, eventually

pytestmark = pytest.mark.timeout(600)
TAKEN_UP_SECONDS = 90
"""The time limit for other workers to take up a killed worker's work: three times the promise, for slow machines."""


@pytest.fixture(scope="module")
def instance() -> Iterator[AnnalsInstance]:
    with checked_instance(ANNALS_LEASE_S="5") as running:
        yield running


def kill(instance: AnnalsInstance, role: str) -> None:
    os.kill(instance.pid_of(role), signal.SIGKILL)


def test_build_of_a_killed_worker_is_finished_by_the_next_worker(instance: AnnalsInstance, client: Client) -> None:
    made = {"functionId": "slow-build", "name": "f", "runtime": "node-22", "entrypoint": "index.js"}
    client.call("POST", "/functions", json={**made, "commands": "echo begun; sleep 3; echo done"})
    code = {"index.js": "module.exports = async ({ res }) => res.text('built')"}
    deployment = client.deploy("slow-build", code)
    eventually(lambda: "begun" in client.deployment("slow-build", deployment)["buildLogs"], 60)

    kill(instance, "worker1")

    ended = client.built("slow-build", deployment, TAKEN_UP_SECONDS)
    assert ended["status"] == "ready", ended["buildLogs"]
    assert client.execute("slow-build")["responseBody"] == "built"


def test_execution_of_a_killed_worker_fails_with_a_reason(instance: AnnalsInstance, client: Client) -> None:
    client.function(
        "sleeper", "module.exports = async ({ res }) => { await new Promise(r => setTimeout(r, 20000)) }", timeout=60
    )
    made = client.execute("sleeper", **{"async": True})
    eventually(lambda: client.execution("sleeper", made["$id"])["status"] == "processing")

    kill(instance, "worker1")

    eventually(lambda: client.execution("sleeper", made["$id"])["status"] == "failed", TAKEN_UP_SECONDS)
    assert "lost" in client.execution("sleeper", made["$id"])["errors"]


def test_waiting_executions_run_after_the_queue_is_lost(instance: AnnalsInstance, client: Client) -> None:
    client.function("waiter", "module.exports = async ({ res }) => res.text('ran')")
    kill(instance, "valkey")  # the queue is only in memory, so its messages are lost
    made = [client.execute("waiter", **{"async": True})["$id"] for _ in range(20)]
    for execution in made:
        eventually(
            lambda execution=execution: client.execution("waiter", execution)["status"] == "completed",  # type: ignore[misc]
            TAKEN_UP_SECONDS,
        )


def test_killed_api_process_loses_no_acknowledged_write(instance: AnnalsInstance, client: Client) -> None:
    answered: list[str] = []
    stop = threading.Event()

    def write(number: int) -> None:
        with httpx.Client(base_url=instance.endpoint, headers=instance.headers, timeout=60) as http:
            serial = 0
            while not stop.is_set():
                serial += 1
                name = f"written-{number}-{serial}"
                try:
                    answer = http.post("/functions", json={"functionId": name, "name": "n", "runtime": "node-22"})
                except httpx.TransportError:
                    continue  # a write without an answer may be lost
                if answer.status_code == 201:
                    answered.append(name)

    with ThreadPoolExecutor(8) as pool:
        writers = [pool.submit(write, number) for number in range(8)]
        for role in ("api1", "api2"):
            before = len(answered)
            eventually(lambda before=before: len(answered) > before + 40)  # type: ignore[misc]
            kill(instance, role)
        before = len(answered)
        eventually(lambda: len(answered) > before + 40)
        stop.set()
        for writer in writers:
            writer.result()

    eventually(lambda: instance.pid_of("api1") and instance.pid_of("api2"))
    lost = [name for name in answered if client.http.get(f"/functions/{name}").status_code != 200]
    assert lost == []


def test_killed_postmaster_restarts_and_loses_no_acknowledged_write(instance: AnnalsInstance) -> None:
    postmaster = instance.pid_of("postgres")
    writers = Writers(instance)
    with writers.writing():
        writers.wait_for_more()
        os.kill(postmaster, signal.SIGKILL)
        eventually(lambda: instance.pid_of("postgres") != postmaster, TAKEN_UP_SECONDS)
        writers.wait_for_more()

    writers.check_nothing_lost()


def job_messages(instance: AnnalsInstance) -> Counter[str]:
    """Return the number of job messages of each execution in the queue."""
    running = Folders(instance.data).running()
    assert running is not None
    with redis.Redis.from_url(running.settings["ANNALS_REDIS_URL"]) as direct:
        messages = [json.loads(one) for one in direct.lrange("annals:executions.lane:default", 0, -1)]
    return Counter(message["args"][0].rpartition(":")[2] for message in messages)


def leads(instance: AnnalsInstance) -> bool:
    return any(row["role"] == "keeper" and row["doing"] == "leads" for row in instance.processes())


def test_keeper_killed_mid_batch_skips_and_repeats_nothing(instance: AnnalsInstance, client: Client) -> None:
    code = "module.exports = async ({ res }) => res.text('ran')"
    client.function("ran", code)
    client.function("listens", code, events=["users.*.create"])
    keeper = instance.pid_of("keeper")
    with followers_blocked_mid_batch(instance) as blocked:
        client.call("PUT", "/functions/ran", json={"name": "ran", "schedule": "0 0 1 1 *"})
        assert client.execute("ran")["status"] == "completed"
        waiting = blocked.wait_for_all()
        os.kill(keeper, signal.SIGKILL)
        blocked.terminate(waiting)

    eventually(lambda: leads(instance), TAKEN_UP_SECONDS)
    keeper, worker = instance.pid_of("keeper"), instance.pid_of("worker1")
    os.kill(worker, signal.SIGSTOP)  # so that repeated messages stay in the queue
    try:
        with followers_blocked_at_commit(instance) as blocked:
            client.call("POST", "/users", json={"userId": "heard", "email": "heard@example.org"})
            once = eventually(lambda: job_messages(instance), TAKEN_UP_SECONDS)
            client.call("PUT", "/functions/ran", json={"name": "ran again", "schedule": "0 0 2 1 *"})
            assert client.execute("ran")["status"] == "completed"
            waiting = blocked.wait_for_all()
            os.kill(keeper, signal.SIGKILL)
            blocked.terminate(waiting)
        eventually(
            lambda: job_messages(instance) == once + once, TAKEN_UP_SECONDS, explain=lambda: job_messages(instance)
        )
    finally:
        os.kill(worker, signal.SIGCONT)

    invariants.check_all(instance)
    (triggered,) = client.call("GET", "/functions/listens/executions")["executions"]
    assert (triggered["status"], {triggered["$id"]: 1}) == ("completed", once)


def test_read_models_equal_the_log_after_the_kills(instance: AnnalsInstance, client: Client) -> None:
    client.call("GET", "/functions")
    deadline = time.monotonic() + TAKEN_UP_SECONDS
    checked = annals("replay", "--check", "--json", "--data", str(instance.data))
    while checked.returncode and time.monotonic() < deadline:
        checked = annals("replay", "--check", "--json", "--data", str(instance.data))
    assert checked.returncode == 0, checked.stdout + checked.stderr

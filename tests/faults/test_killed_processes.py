"""Processes killed in the middle of their work: what was accepted ends, what was answered is there."""

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
from tests.faults.batches import held_at_their_end, held_in_the_middle
from tests.faults.stage import alone
from tests.faults.writers import Writers
from tests.instance import AnnalsInstance, annals, eventually

pytestmark = pytest.mark.timeout(600)
TAKEN_UP_SECONDS = 90
"""A killed worker's work is taken up again, or ended with a reason; three times the promise, for slower machines."""


@pytest.fixture(scope="module")
def instance() -> Iterator[AnnalsInstance]:
    with alone(ANNALS_LEASE_S="5") as running:
        yield running


def kill(instance: AnnalsInstance, role: str) -> None:
    os.kill(instance.pid_of(role), signal.SIGKILL)


def test_build_whose_worker_is_killed_is_built_by_the_next_one(instance: AnnalsInstance, client: Client) -> None:
    made = {"functionId": "slow-build", "name": "f", "runtime": "node-22", "entrypoint": "index.js"}
    client.call("POST", "/functions", json={**made, "commands": "echo begun; sleep 3; echo done"})
    code = {"index.js": "module.exports = async ({ res }) => res.text('built')"}
    deployment = client.deploy("slow-build", code)
    eventually(lambda: "begun" in client.deployment("slow-build", deployment)["buildLogs"], 60)

    kill(instance, "worker1")

    ended = client.built("slow-build", deployment, TAKEN_UP_SECONDS)
    assert ended["status"] == "ready", ended["buildLogs"]
    assert client.execute("slow-build")["responseBody"] == "built"


def test_execution_whose_worker_is_killed_ends_with_a_reason(instance: AnnalsInstance, client: Client) -> None:
    client.function(
        "sleeper", "module.exports = async ({ res }) => { await new Promise(r => setTimeout(r, 20000)) }", timeout=60
    )
    made = client.execute("sleeper", **{"async": True})
    eventually(lambda: client.execution("sleeper", made["$id"])["status"] == "processing")

    kill(instance, "worker1")

    eventually(lambda: client.execution("sleeper", made["$id"])["status"] == "failed", TAKEN_UP_SECONDS)
    assert "lost" in client.execution("sleeper", made["$id"])["errors"]


def test_what_waits_runs_when_the_queue_has_been_emptied(instance: AnnalsInstance, client: Client) -> None:
    client.function("waiter", "module.exports = async ({ res }) => res.text('ran')")
    kill(instance, "valkey")  # it keeps nothing: whatever was queued is gone
    made = [client.execute("waiter", **{"async": True})["$id"] for _ in range(20)]
    for execution in made:
        eventually(
            lambda execution=execution: client.execution("waiter", execution)["status"] == "completed",  # type: ignore[misc]
            TAKEN_UP_SECONDS,
        )


def test_api_killed_under_writes_loses_nothing_it_answered(instance: AnnalsInstance, client: Client) -> None:
    answered: list[str] = []
    stop = threading.Event()

    def write(number: int) -> None:
        with httpx.Client(base_url=instance.endpoint, headers=instance.headers, timeout=60) as http:
            serial = 0
            while not stop.is_set():
                serial += 1
                name = f"kept-{number}-{serial}"
                try:
                    answer = http.post("/functions", json={"functionId": name, "name": "n", "runtime": "node-22"})
                except httpx.TransportError:
                    continue  # no answer, no promise
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


def test_killed_postmaster_puts_writes_off_loses_none_and_is_back_by_itself(instance: AnnalsInstance) -> None:
    postmaster = instance.pid_of("postgres")
    writers = Writers(instance)
    with writers.writing():
        writers.more()
        os.kill(postmaster, signal.SIGKILL)
        eventually(lambda: instance.pid_of("postgres") != postmaster, TAKEN_UP_SECONDS)
        writers.more()

    writers.lost_nothing()


def job_messages(instance: AnnalsInstance) -> Counter[str]:
    """How often each execution lies in the queue."""
    running = Folders(instance.data).running()
    assert running is not None
    with redis.Redis.from_url(running.settings["ANNALS_REDIS_URL"]) as direct:
        messages = [json.loads(one) for one in direct.lrange("annals:executions.lane:default", 0, -1)]
    return Counter(message["args"][0].rpartition(":")[2] for message in messages)


def leads(instance: AnnalsInstance) -> bool:
    return any(row["role"] == "keeper" and row["doing"] == "leads" for row in instance.processes())


def test_keepers_killed_in_mid_batch_leave_nothing_out_and_do_nothing_twice(
    instance: AnnalsInstance, client: Client
) -> None:
    code = "module.exports = async ({ res }) => res.text('ran')"
    client.function("ran", code)
    client.function("listens", code, events=["users.*.create"])
    keeper = instance.pid_of("keeper")
    with held_in_the_middle(instance) as held:
        client.call("PUT", "/functions/ran", json={"name": "ran", "schedule": "0 0 1 1 *"})
        assert client.execute("ran")["status"] == "completed"
        waiting = held.all()
        os.kill(keeper, signal.SIGKILL)
        held.end(waiting)

    eventually(lambda: leads(instance), TAKEN_UP_SECONDS)
    keeper, worker = instance.pid_of("keeper"), instance.pid_of("worker1")
    os.kill(worker, signal.SIGSTOP)  # so that what is sent twice stays to be seen
    try:
        with held_at_their_end(instance) as held:
            client.call("POST", "/users", json={"userId": "heard", "email": "heard@example.org"})
            once = eventually(lambda: job_messages(instance), TAKEN_UP_SECONDS)
            client.call("PUT", "/functions/ran", json={"name": "ran again", "schedule": "0 0 2 1 *"})
            assert client.execute("ran")["status"] == "completed"
            waiting = held.all()
            os.kill(keeper, signal.SIGKILL)
            held.end(waiting)
        eventually(
            lambda: job_messages(instance) == once + once, TAKEN_UP_SECONDS, explain=lambda: job_messages(instance)
        )
    finally:
        os.kill(worker, signal.SIGCONT)

    invariants.hold(instance)
    (triggered,) = client.call("GET", "/functions/listens/executions")["executions"]
    assert (triggered["status"], {triggered["$id"]: 1}) == ("completed", once)


def test_read_models_equal_the_log_after_all_of_that(instance: AnnalsInstance, client: Client) -> None:
    client.call("GET", "/functions")
    deadline = time.monotonic() + TAKEN_UP_SECONDS
    checked = annals("replay", "--check", "--json", "--data", str(instance.data))
    while checked.returncode and time.monotonic() < deadline:
        checked = annals("replay", "--check", "--json", "--data", str(instance.data))
    assert checked.returncode == 0, checked.stdout + checked.stderr

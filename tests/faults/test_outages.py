"""Postgres, Valkey and executor cut off, paused, slowed, emptied and killed under load: accepted work ends once."""

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
import redis

from annals.executor.drivers.sandbox import FIRST_UID
from annals.workers.job_messages import BUILDS, CLEANUP, EXECUTIONS
from tests.client import Client
from tests.faults import canaries
from tests.faults.messages import multiply, queued
from tests.faults.stage import Stage, log_entries, staged
from tests.faults.steady_load import Writers
from tests.instance import eventually

pytestmark = [pytest.mark.timeout(600), pytest.mark.usefixtures("invariants_hold")]
TAKEN_UP_SECONDS = 90
HELLO = "module.exports = async ({ res }) => res.text('hello')"
SLOW = "module.exports = async ({ res }) => { await new Promise(r => setTimeout(r, 3000)); return res.text('slow') }"

ENDLESS = "module.exports = async () => { await new Promise(r => setTimeout(r, 90000)) }"


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with staged() as made:
        made.client.function("hello", HELLO)
        made.client.function("slow", SLOW, timeout=20)
        yield made


def later(client: Client, function: str, number: int) -> list[str]:
    return [client.execute(function, **{"async": True})["$id"] for _ in range(number)]


def wait_until_started(client: Client, function: str, made: list[str]) -> None:
    """Wait until no execution waits; on a slow machine some may have ended already."""
    eventually(lambda: all(client.execution(function, one)["status"] != "waiting" for one in made))


def all_ended(client: Client, function: str, made: list[str]) -> list[dict[str, Any]]:
    """Wait until all have ended, and return them."""

    def ended() -> list[dict[str, Any]]:
        found = [client.execution(function, one) for one in made]
        return found if all(one["status"] in {"completed", "failed"} for one in found) else []

    found: list[dict[str, Any]] = eventually(ended, TAKEN_UP_SECONDS)
    return found


def claims(stage: Stage, deployment: str) -> int:
    """Return how often a build was claimed, read without the proxy."""
    query = "SELECT count(*) FROM events WHERE topic = 'deployment.build_claimed' AND originator_id LIKE %s"
    with psycopg.connect(stage.postgres.url()) as conn:
        ((number,),) = conn.execute(query, (f"%:{deployment}",)).fetchall()
    return int(number)


def test_postgres_outage_answers_503_and_loses_no_acknowledged_write(stage: Stage) -> None:
    before = {row["role"]: row["pid"] for row in stage.instance.processes()}
    writers = Writers(stage.instance)
    waiting = later(stage.client, "hello", 10)
    with writers.writing():
        writers.wait_for_more()
        stage.to_postgres.cut()
        writers.wait_for_more()
        stage.to_postgres.hang()
        time.sleep(4)
        stage.to_postgres.heal()
        writers.wait_for_more()
        stage.to_postgres.refuse()
        eventually(lambda: any(answer.status_code == 503 for answer in writers.others))
        stage.to_postgres.heal()
        writers.wait_for_more()
        stage.postgres.crash()
        time.sleep(1)
        stage.postgres.start()
        writers.wait_for_more()
        stage.to_postgres.delay(0.02)
        writers.wait_for_more()

    stage.heal()
    writers.check_nothing_lost()
    assert {one["status"] for one in all_ended(stage.client, "hello", waiting)} == {"completed"}
    assert {row["role"]: row["pid"] for row in stage.instance.processes()} == before, "a process restarted"


def test_waiting_executions_run_once_through_queue_faults(stage: Stage) -> None:
    made: list[str] = []
    faults = (stage.to_valkey.refuse, stage.to_valkey.hang, stage.to_valkey.cut, stage.valkey.wipe, stage.valkey.stop)
    for fault in faults:
        fault()
        made += later(stage.client, "hello", 5)
        time.sleep(0.5)
        stage.heal()
        if fault == stage.valkey.stop:
            stage.valkey.start()
        made += later(stage.client, "hello", 5)
    with redis.Redis.from_url(stage.valkey.url) as direct:
        direct.config_set("maxmemory", "1")
        made += later(stage.client, "hello", 5)
        time.sleep(0.5)
        direct.config_set("maxmemory", "0")
    stage.to_valkey.throttle(20_000)
    stage.to_valkey.delay(0.1)
    made += later(stage.client, "hello", 5)

    assert {one["status"] for one in all_ended(stage.client, "hello", made)} == {"completed"}


def test_duplicate_and_reordered_messages_change_nothing(stage: Stage) -> None:
    client = stage.client
    client.function("parted", HELLO)
    other, removed = (client.deploy("hello", {"index.js": HELLO}, activate="false") for _ in range(2))
    client.ready("hello", removed)
    client.ready("hello", other)
    failed = len(log_entries(stage.instance.log, "work_failed"))
    workers = [row["pid"] for row in stage.instance.processes() if row["role"].startswith("worker")]
    for pid in workers:
        os.kill(pid, signal.SIGSTOP)
    try:
        made = later(client, "hello", 10)
        built, canceled = (client.deploy("hello", {"index.js": HELLO}) for _ in range(2))
        client.call("PATCH", f"/functions/hello/deployments/{canceled}/status")
        client.call("PATCH", f"/functions/hello/executions/{made.pop()}/status")
        client.call("PATCH", "/functions/hello/deployment", json={"deploymentId": other})
        client.call("DELETE", f"/functions/hello/deployments/{removed}")
        client.call("DELETE", "/functions/parted")
        with redis.Redis.from_url(stage.valkey.url) as direct:
            for queue, least in ((EXECUTIONS, 10), (BUILDS, 2), (CLEANUP, 5)):
                eventually(lambda queue=queue, least=least: queued(direct, queue) >= least)  # type: ignore[misc]
            multiply(direct)
    finally:
        for pid in workers:
            os.kill(pid, signal.SIGCONT)

    assert {one["status"] for one in all_ended(client, "hello", made)} == {"completed"}
    client.ready("hello", built)
    with redis.Redis.from_url(stage.valkey.url) as direct:
        eventually(lambda: not any(queued(direct, queue) for queue in (EXECUTIONS, BUILDS, CLEANUP)))
    assert claims(stage, built) == 1
    assert client.deployment("hello", canceled)["status"] == "canceled"
    assert len(log_entries(stage.instance.log, "work_failed")) == failed


def test_work_ends_when_the_executor_dies_hangs_or_is_disconnected(stage: Stage) -> None:
    client = stage.client
    made = {"functionId": "built", "name": "f", "runtime": "node-22", "entrypoint": "index.js"}
    client.call("POST", "/functions", json={**made, "commands": "echo begun; sleep 2; echo done"})
    deployment = client.deploy("built", {"index.js": HELLO})
    running = later(client, "slow", 3)
    wait_until_started(client, "slow", running)
    eventually(lambda: "begun" in client.deployment("built", deployment)["buildLogs"])

    stage.executor.kill()
    stage.executor.start()

    for one in all_ended(client, "slow", running):
        assert one["status"] == "completed" or "executor" in one["errors"].lower(), one
    assert client.built("built", deployment, TAKEN_UP_SECONDS)["status"] == "ready"
    for fault in (stage.to_executor.cut, stage.to_executor.half_close, stage.to_executor.hang):
        running = later(client, "slow", 2)
        wait_until_started(client, "slow", running)
        fault()
        all_ended(client, "slow", running)
        stage.heal()
        eventually(lambda: client.execute("hello")["responseBody"] == "hello", TAKEN_UP_SECONDS)


def test_acknowledged_creates_survive_broken_database_connections(stage: Stage) -> None:
    """A broken connection leaves open whether an append was committed; an acknowledged one must exist."""
    names = [f"unsure-{number}" for number in range(40)]

    def create(name: str) -> int:
        sent = {"functionId": name, "name": "n", "runtime": "node-22"}
        answer = httpx.post(
            f"{stage.instance.endpoint}/functions", json=sent, headers=stage.instance.headers, timeout=100
        )
        return answer.status_code

    with ThreadPoolExecutor(8) as pool:
        creating = [pool.submit(create, name) for name in names]
        while not all(one.done() for one in creating):
            stage.to_postgres.half_close()
            time.sleep(0.05)
            stage.to_postgres.cut()
            time.sleep(0.2)
        statuses = dict(zip(names, (one.result() for one in creating), strict=True))

    assert set(statuses.values()) <= {201, 503}, statuses
    existing = {name for name in names if stage.client.http.get(f"/functions/{name}").status_code == 200}
    assert {name for name, status in statuses.items() if status == 201} <= existing


def test_warm_instance_killed_by_hand_is_replaced(stage: Stage) -> None:
    assert stage.client.execute("hello")["responseBody"] == "hello"
    for pid in sandboxed(stage.executor.pid):
        os.kill(pid, signal.SIGKILL)

    eventually(lambda: stage.client.execute("hello")["responseBody"] == "hello")


def test_accepted_work_ends_after_every_process_is_killed_at_once(stage: Stage) -> None:
    client = stage.client
    client.function("endless", ENDLESS, timeout=100)
    pids = [row["pid"] for row in stage.instance.processes() if row["role"].rstrip("12") in {"api", "worker", "keeper"}]
    assert len(pids) == 5
    made, cut_short = later(client, "hello", 10), later(client, "endless", 2)
    eventually(lambda: all(client.execution("endless", one)["status"] == "processing" for one in cut_short))

    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    stage.executor.kill()
    stage.valkey.stop()
    stage.postgres.crash()
    stage.postgres.start()
    stage.valkey.start()
    stage.executor.start()

    def answers() -> bool:
        try:
            return client.http.get("/health").status_code == 200
        except httpx.TransportError:
            return False

    eventually(answers, TAKEN_UP_SECONDS)
    all_ended(client, "hello", made)
    assert all("lost" in one["errors"] for one in all_ended(client, "endless", cut_short))
    assert client.execute("hello")["responseBody"] == "hello"


def test_planted_secret_is_unreadable_everywhere_after_the_outages(stage: Stage) -> None:
    canaries.check_unreadable(stage.instance, *stage.outside_folders)
    found = canaries.readable_in(canaries.exported(stage.instance), canaries.CANARY, canaries.KNOWN)
    assert found[canaries.CANARY] == set()
    assert "exported project.variable_added" in found[canaries.KNOWN]


def sandboxed(executor: int) -> list[int]:
    """Return the sandbox processes below an executor; their user ids identify them."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == executor and folder.stat().st_uid >= FIRST_UID:
                found.append(int(folder.name))
        except (OSError, ValueError):
            continue
    assert found, "no instance is warm"
    return found

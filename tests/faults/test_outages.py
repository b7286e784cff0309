"""Postgres, Valkey and executor cut off, hung, slow, emptied and killed under load: what was accepted ends, once."""

import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis

from annals.executor.drivers.sandbox import FIRST_UID
from tests.client import Client
from tests.faults import canaries
from tests.faults.stage import Stage, staged
from tests.instance import eventually

pytestmark = [pytest.mark.timeout(600), pytest.mark.usefixtures("held")]
TAKEN_UP_SECONDS = 90
HELLO = "module.exports = async ({ res }) => res.text('hello')"
SLOW = "module.exports = async ({ res }) => { await new Promise(r => setTimeout(r, 3000)); return res.text('slow') }"


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with staged() as made:
        made.client.function("hello", HELLO)
        made.client.function("slow", SLOW, timeout=20)
        yield made


class Writers:
    """Clients that write all the time; `answered` are the ids of what was acknowledged, `others` what else came."""

    def __init__(self, stage: Stage) -> None:
        self.answered: list[str] = []
        self.others: list[httpx.Response] = []
        self._stage, self._end = stage, threading.Event()
        self._name = f"{random.randrange(10**6)}"

    @contextmanager
    def writing(self, clients: int = 6) -> Iterator[None]:
        with ThreadPoolExecutor(clients) as pool:
            running = [pool.submit(self._write, number) for number in range(clients)]
            try:
                yield
            finally:
                self._end.set()
            for one in running:
                one.result()

    def more(self, number: int = 20, seconds: float = TAKEN_UP_SECONDS) -> None:
        """Wait until so many more were acknowledged."""
        before = len(self.answered)
        eventually(lambda: len(self.answered) >= before + number, seconds)

    def _write(self, number: int) -> None:
        instance, serial = self._stage.instance, 0
        with httpx.Client(base_url=instance.endpoint, headers=instance.headers, timeout=100) as http:
            while not self._end.is_set():
                serial += 1
                name = f"w{self._name}-{number}-{serial}"
                answer = http.post("/functions", json={"functionId": name, "name": "n", "runtime": "node-22"})
                if answer.status_code == 201:
                    self.answered.append(name)
                else:
                    self.others.append(answer)
                    time.sleep(0.05)


def later(client: Client, function: str, number: int) -> list[str]:
    return [client.execute(function, **{"async": True})["$id"] for _ in range(number)]


def begun(client: Client, function: str, made: list[str]) -> None:
    """Wait until none waits; on a slow machine one may have ended already."""
    eventually(lambda: all(client.execution(function, one)["status"] != "waiting" for one in made))


def all_ended(client: Client, function: str, made: list[str]) -> list[dict[str, Any]]:
    """Wait until all have ended, and return them."""

    def ended() -> list[dict[str, Any]]:
        found = [client.execution(function, one) for one in made]
        return found if all(one["status"] in {"completed", "failed"} for one in found) else []

    found: list[dict[str, Any]] = eventually(ended, TAKEN_UP_SECONDS)
    return found


def test_writes_are_put_off_while_postgres_is_away_and_nothing_acknowledged_is_missing(stage: Stage) -> None:
    before = {row["role"]: row["pid"] for row in stage.instance.processes()}
    writers = Writers(stage)
    waiting = later(stage.client, "hello", 10)
    with writers.writing():
        writers.more()
        stage.to_postgres.cut()
        writers.more()
        stage.to_postgres.hang()
        time.sleep(4)
        stage.to_postgres.heal()
        writers.more()
        stage.to_postgres.refuse()
        eventually(lambda: any(answer.status_code == 503 for answer in writers.others))
        stage.to_postgres.heal()
        writers.more()
        stage.postgres.crash()
        time.sleep(1)
        stage.postgres.start()
        writers.more()
        stage.to_postgres.delay(0.02)
        writers.more()

    assert {answer.status_code for answer in writers.others} == {503}, writers.others
    assert all(int(answer.headers["retry-after"]) > 0 for answer in writers.others)
    stage.heal()
    lost = [name for name in writers.answered if stage.client.http.get(f"/functions/{name}").status_code != 200]
    assert lost == []
    assert {one["status"] for one in all_ended(stage.client, "hello", waiting)} == {"completed"}
    assert {row["role"]: row["pid"] for row in stage.instance.processes()} == before, "something was started again"


def test_what_waits_runs_once_whatever_happens_to_the_queue(stage: Stage) -> None:
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


def test_messages_that_come_three_times_and_in_disorder_change_nothing(stage: Stage) -> None:
    workers = [row["pid"] for row in stage.instance.processes() if row["role"].startswith("worker")]
    for pid in workers:
        os.kill(pid, signal.SIGSTOP)
    try:
        made = later(stage.client, "hello", 10)
        with redis.Redis.from_url(stage.valkey.url) as direct:
            eventually(lambda: _queued(direct) >= 10)
            for lane in direct.scan_iter("annals:executions.lane:*"):
                messages = direct.lrange(lane, 0, -1) * 3
                random.shuffle(messages)
                direct.rpush(lane, *messages)
    finally:
        for pid in workers:
            os.kill(pid, signal.SIGCONT)

    assert {one["status"] for one in all_ended(stage.client, "hello", made)} == {"completed"}


def test_an_executor_that_dies_hangs_or_is_cut_off_leaves_nothing_undone(stage: Stage) -> None:
    client = stage.client
    made = {"functionId": "built", "name": "f", "runtime": "node-22", "entrypoint": "index.js"}
    client.call("POST", "/functions", json={**made, "commands": "echo begun; sleep 2; echo done"})
    deployment = client.deploy("built", {"index.js": HELLO})
    running = later(client, "slow", 3)
    begun(client, "slow", running)
    eventually(lambda: "begun" in client.deployment("built", deployment)["buildLogs"])

    stage.executor.kill()
    stage.executor.start()

    for one in all_ended(client, "slow", running):
        assert one["status"] == "completed" or "executor" in one["errors"].lower(), one
    assert client.built("built", deployment, TAKEN_UP_SECONDS)["status"] == "ready"
    for fault in (stage.to_executor.cut, stage.to_executor.half_close, stage.to_executor.hang):
        running = later(client, "slow", 2)
        begun(client, "slow", running)
        fault()
        all_ended(client, "slow", running)
        stage.heal()
        eventually(lambda: client.execute("hello")["responseBody"] == "hello", TAKEN_UP_SECONDS)


def test_keepers_killed_in_mid_batch_leave_nothing_out_and_do_nothing_twice(stage: Stage) -> None:
    made: list[str] = []
    for _ in range(3):
        made += later(stage.client, "hello", 15)
        stage.kill("keeper")  # relay, triggers, usage and schedules with it
        made += later(stage.client, "hello", 5)
        eventually(
            lambda: any(row["role"] == "keeper" and row["state"] == "ready" for row in stage.instance.processes())
        )

    assert {one["status"] for one in all_ended(stage.client, "hello", made)} == {"completed"}


def test_a_connection_that_breaks_before_the_answer_records_once(stage: Stage) -> None:
    """Appends whose commit may or may not have gone through: each id is there once, whatever its client was told."""
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
        told = dict(zip(names, (one.result() for one in creating), strict=True))

    assert set(told.values()) <= {201, 503}, told
    there = {name for name in names if stage.client.http.get(f"/functions/{name}").status_code == 200}
    assert {name for name, status in told.items() if status == 201} <= there


def test_a_warm_instance_that_is_killed_by_hand_is_replaced(stage: Stage) -> None:
    assert stage.client.execute("hello")["responseBody"] == "hello"
    for pid in sandboxed(stage.executor.pid):
        os.kill(pid, signal.SIGKILL)

    eventually(lambda: stage.client.execute("hello")["responseBody"] == "hello")


def test_everything_killed_at_once_comes_back_with_all_that_was_accepted(stage: Stage) -> None:
    client = stage.client
    made, running = later(client, "hello", 10), later(client, "slow", 2)

    for role in ("api1", "api2", "worker1", "worker2", "keeper"):
        stage.kill(role)
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
    all_ended(client, "slow", running)
    assert client.execute("hello")["responseBody"] == "hello"


def test_no_secret_that_was_given_can_be_read_anywhere_after_all_of_that(stage: Stage) -> None:
    canaries.unseen(stage.instance, *stage.beside)
    found = canaries.where(canaries.exported(stage.instance), canaries.CANARY, canaries.KNOWN)
    assert found[canaries.CANARY] == set()
    assert "exported project.variable_added" in found[canaries.KNOWN]


def sandboxed(executor: int) -> list[int]:
    """The sandboxes' processes below an executor, by their users."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == executor and folder.stat().st_uid >= FIRST_UID:
                found.append(int(folder.name))
        except (OSError, ValueError):
            continue
    assert found, "nothing is warm"
    return found


def _queued(direct: "redis.Redis") -> int:
    """Wake-ups of executions in every project's lane."""
    return sum(int(direct.llen(lane)) for lane in direct.scan_iter("annals:executions.lane:*"))

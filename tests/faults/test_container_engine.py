"""A container engine that is killed or paused, or whose containers are removed: work ends or is repeated."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.client import Client
from tests.faults import invariants, leftovers
from tests.faults.engine import OwnEngine, missing
from tests.faults.stage import Stage, staged
from tests.instance import STOP_SECONDS, AnnalsInstance, eventually, short_folder

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.docker,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can run an engine of its own"),
]
TAKEN_UP_SECONDS = 90
ENGINE_SILENT_SECONDS = 3
"""A pause that is shorter than the time limit of an executor's stop."""
HELLO = "module.exports = async ({ res }) => res.text('hello')"
SLOW = """
module.exports = async ({ req, res }) => {
  if (req.path === '/slow') await new Promise((r) => setTimeout(r, 4000));
  return res.text('slow');
};
"""
ENDED = {"completed", "failed"}
LOST = ("went away", "does not answer")
"""The errors of executions that ran, and of executions whose container was just starting."""


@pytest.fixture(scope="module")
def engine() -> Iterator[OwnEngine]:
    if problem := missing():
        pytest.skip(problem)
    with short_folder() as folder, closing(OwnEngine(folder)) as own:
        own.start()
        own.copy_image()
        yield own


@pytest.fixture(scope="module")
def stage(engine: OwnEngine) -> Iterator[Stage]:
    settings = {"ANNALS_DRIVER": "docker", "ANNALS_DOCKER_HOST": engine.host}
    with staged(within=engine.within, settings=settings) as made:
        made.client.function("hello", HELLO)
        made.client.function("slow", SLOW, timeout=20)
        yield made


@pytest.fixture(autouse=True)
def no_leak(invariants_hold: None, stage: Stage, engine: OwnEngine) -> Iterator[None]:
    """Check after every test that no process restarted and that the executor knows every container."""
    before = {row["role"]: row["pid"] for row in stage.instance.processes()}, stage.executor.pid
    yield
    eventually(
        lambda: len(engine.containers()) == kept_by(stage),
        invariants.quiet_seconds(stage.instance),
        explain=lambda: f"{kept_by(stage)} by the executor, {engine.containers()} by the engine",
    )
    assert ({row["role"]: row["pid"] for row in stage.instance.processes()}, stage.executor.pid) == before


def kept_by(stage: Stage) -> int:
    """Return the number of instances that the executor counts."""
    (counts,) = leftovers.executor_counts(*stage.instance.executors).values()
    assert isinstance(counts, dict), counts
    return sum(counts[name] for name in leftovers.KEPT_COUNTS)


def start_executions(client: Client, number: int) -> list[str]:
    """Start executions that run for four seconds; on a slow machine some may have ended already."""
    made = [client.execute("slow", path="/slow", **{"async": True})["$id"] for _ in range(number)]
    eventually(lambda: all(client.execution("slow", one)["status"] != "waiting" for one in made))
    return made


def test_killed_engine_loses_only_running_work(stage: Stage, engine: OwnEngine) -> None:
    client = stage.client
    client.call(
        "POST",
        "/functions",
        json={
            "functionId": "built",
            "name": "f",
            "runtime": "node-22",
            "entrypoint": "index.js",
            "commands": "echo begun; sleep 3; echo done",
        },
    )
    deployment = client.deploy("built", {"index.js": HELLO})
    eventually(lambda: "begun" in client.deployment("built", deployment)["buildLogs"], TAKEN_UP_SECONDS)
    assert client.execute("slow")["responseBody"] == "slow"  # warm: the next executions start no container
    running = start_executions(client, 3)

    engine.kill()
    waiting = [client.execute("hello", **{"async": True})["$id"] for _ in range(5)]
    engine.start()  # at once, since a waiting execution waits for the engine for some seconds only

    eventually(lambda: all(client.execution("slow", one)["status"] in ENDED for one in running))
    for one in running:
        ended = client.execution("slow", one)
        assert ended["status"] == "completed" or any(reason in ended["errors"] for reason in LOST), ended
    for one in waiting:
        eventually(lambda one=one: client.execution("hello", one)["status"] == "completed", TAKEN_UP_SECONDS)  # type: ignore[misc]
    assert client.built("built", deployment, TAKEN_UP_SECONDS)["status"] == "ready"
    assert client.execute("built")["responseBody"] == "hello"


def test_hung_engine_serves_warm_functions_and_ends_other_calls(stage: Stage, engine: OwnEngine) -> None:
    client = stage.client
    client.function("cold", HELLO)
    client.call("PUT", "/functions/slow", json={"name": "slow", "timeout": 1})
    eventually(lambda: client.execute("hello")["responseBody"] == "hello", TAKEN_UP_SECONDS)
    eventually(lambda: client.execute("slow")["responseBody"] == "slow", TAKEN_UP_SECONDS)
    with engine.paused():
        assert client.execute("hello")["responseBody"] == "hello"
        cold = [client.execute("cold", **{"async": True})["$id"] for _ in range(2)]
        late = client.execute("slow", path="/slow")  # the paused engine cannot kill its instance

    assert (late["status"], "timed out" in late["errors"]) == ("failed", True), late
    for one in cold:
        eventually(lambda one=one: client.execution("cold", one)["status"] == "completed", TAKEN_UP_SECONDS)  # type: ignore[misc]
    eventually(lambda: client.execute("slow")["responseBody"] == "slow", TAKEN_UP_SECONDS)


def test_containers_and_network_removed_by_hand_are_replaced(stage: Stage, engine: OwnEngine) -> None:
    client = stage.client
    client.call("PUT", "/functions/slow", json={"name": "slow", "timeout": 20})
    running = start_executions(client, 1)

    engine.remove_containers()

    eventually(lambda: client.execution("slow", running[0])["status"] in ENDED)
    eventually(lambda: client.execute("hello")["responseBody"] == "hello", TAKEN_UP_SECONDS)
    engine.remove_containers()
    engine.remove_network()
    eventually(lambda: client.execute("hello")["status"] == "completed", TAKEN_UP_SECONDS)
    assert engine.has_network()


def test_orderly_stop_removes_every_container_when_the_engine_is_slow(engine: OwnEngine, folder: Path) -> None:
    with_loopback = ["sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
    running = AnnalsInstance.start(
        folder / "data",
        environment={"ANNALS_DRIVER": "docker", "ANNALS_DOCKER_HOST": engine.host, "ANNALS_RESERVE": "node-22=4"},
        wrap=lambda argv: [*engine.within, *with_loopback, *argv],
    )
    keeper, work = running.pid_of("keeper"), running.data / "work"
    eventually(lambda: len(engine.containers(work)) == 4, TAKEN_UP_SECONDS)

    with engine.paused():
        running.process.send_signal(signal.SIGTERM)
        eventually(lambda: not Path(f"/proc/{keeper}").exists())  # now the executor is asked to stop
        time.sleep(ENGINE_SILENT_SECONDS)
    running.process.wait(STOP_SECONDS)

    assert engine.containers(work) == []
    assert "killed" not in running.log.read_text()

"""The container engine killed and hung, containers removed by hand: work ends or is done again, and nothing is left."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.client import Client
from tests.faults import atwork, invariants
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
"""Longer than an executor used to have for its stop, shorter than it has."""
HELLO = "module.exports = async ({ res }) => res.text('hello')"
SLOW = """
module.exports = async ({ req, res }) => {
  if (req.path === '/slow') await new Promise((r) => setTimeout(r, 4000));
  return res.text('slow');
};
"""
ENDED = {"completed", "failed"}
LOST = ("went away", "does not answer")
"""What is said of executions that ran, and of those whose container was just being started."""


@pytest.fixture(scope="module")
def engine() -> Iterator[OwnEngine]:
    if problem := missing():
        pytest.skip(problem)
    with short_folder() as folder, closing(OwnEngine(folder)) as own:
        own.start()
        own.take_image()
        yield own


@pytest.fixture(scope="module")
def stage(engine: OwnEngine) -> Iterator[Stage]:
    settings = {"ANNALS_DRIVER": "docker", "ANNALS_DOCKER_HOST": engine.host}
    with staged(within=engine.within, settings=settings) as made:
        made.client.function("hello", HELLO)
        made.client.function("slow", SLOW, timeout=20)
        yield made


@pytest.fixture(autouse=True)
def tidied(held: None, stage: Stage, engine: OwnEngine) -> Iterator[None]:
    """After every test the invariants hold, no process was started again, and each container is somebody's."""
    before = {row["role"]: row["pid"] for row in stage.instance.processes()}, stage.executor.pid
    yield
    eventually(
        lambda: len(engine.containers()) == kept_by(stage),
        invariants.quiet_seconds(stage.instance),
        explain=lambda: f"{kept_by(stage)} by the executor, {engine.containers()} by the engine",
    )
    assert ({row["role"]: row["pid"] for row in stage.instance.processes()}, stage.executor.pid) == before


def kept_by(stage: Stage) -> int:
    """How many instances the executor says it keeps."""
    (told,) = atwork.work(*stage.instance.executors).values()
    assert isinstance(told, dict), told
    return sum(told[name] for name in atwork.HELD)


def begun(client: Client, number: int) -> list[str]:
    """Executions that run for four seconds; on a slow machine one may have ended already."""
    made = [client.execute("slow", path="/slow", **{"async": True})["$id"] for _ in range(number)]
    eventually(lambda: all(client.execution("slow", one)["status"] != "waiting" for one in made))
    return made


def test_engine_that_is_killed_costs_what_ran_and_nothing_else(stage: Stage, engine: OwnEngine) -> None:
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
    assert client.execute("slow")["responseBody"] == "slow"  # warm: what comes next runs, and begins nothing
    running = begun(client, 3)

    engine.kill()
    waiting = [client.execute("hello", **{"async": True})["$id"] for _ in range(5)]
    engine.start()  # at once, since what has not begun waits for it as for an executor, some seconds

    eventually(lambda: all(client.execution("slow", one)["status"] in ENDED for one in running))
    for one in running:
        ended = client.execution("slow", one)
        assert ended["status"] == "completed" or any(reason in ended["errors"] for reason in LOST), ended
    for one in waiting:
        eventually(lambda one=one: client.execution("hello", one)["status"] == "completed", TAKEN_UP_SECONDS)  # type: ignore[misc]
    assert client.built("built", deployment, TAKEN_UP_SECONDS)["status"] == "ready"
    assert client.execute("built")["responseBody"] == "hello"


def test_engine_that_hangs_leaves_warm_functions_served_and_ends_the_rest(stage: Stage, engine: OwnEngine) -> None:
    client = stage.client
    client.function("cold", HELLO)
    client.call("PUT", "/functions/slow", json={"name": "slow", "timeout": 1})
    eventually(lambda: client.execute("hello")["responseBody"] == "hello", TAKEN_UP_SECONDS)
    eventually(lambda: client.execute("slow")["responseBody"] == "slow", TAKEN_UP_SECONDS)
    with engine.hanging():
        assert client.execute("hello")["responseBody"] == "hello"
        cold = [client.execute("cold", **{"async": True})["$id"] for _ in range(2)]
        late = client.execute("slow", path="/slow")  # its instance is to be killed, which nobody can now

    assert (late["status"], "timed out" in late["errors"]) == ("failed", True), late
    for one in cold:
        eventually(lambda one=one: client.execution("cold", one)["status"] == "completed", TAKEN_UP_SECONDS)  # type: ignore[misc]
    eventually(lambda: client.execute("slow")["responseBody"] == "slow", TAKEN_UP_SECONDS)


def test_containers_and_a_network_that_are_removed_by_hand_are_replaced(stage: Stage, engine: OwnEngine) -> None:
    client = stage.client
    client.call("PUT", "/functions/slow", json={"name": "slow", "timeout": 20})
    running = begun(client, 1)

    engine.remove_containers()

    eventually(lambda: client.execution("slow", running[0])["status"] in ENDED)
    eventually(lambda: client.execute("hello")["responseBody"] == "hello", TAKEN_UP_SECONDS)
    engine.remove_containers()
    engine.remove_network()
    eventually(lambda: client.execute("hello")["status"] == "completed", TAKEN_UP_SECONDS)
    assert engine.has_network()


def test_orderly_stop_leaves_no_container_also_when_the_engine_is_slow(engine: OwnEngine, folder: Path) -> None:
    with_loopback = ["sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
    running = AnnalsInstance.start(
        folder / "data",
        environment={"ANNALS_DRIVER": "docker", "ANNALS_DOCKER_HOST": engine.host, "ANNALS_RESERVE": "node-22=4"},
        wrap=lambda argv: [*engine.within, *with_loopback, *argv],
    )
    keeper, work = running.pid_of("keeper"), running.data / "work"
    eventually(lambda: len(engine.containers(work)) == 4, TAKEN_UP_SECONDS)

    with engine.hanging():
        running.process.send_signal(signal.SIGTERM)
        eventually(lambda: not Path(f"/proc/{keeper}").exists())  # now the executor is asked to stop
        time.sleep(ENGINE_SILENT_SECONDS)
    running.process.wait(STOP_SECONDS)

    assert engine.containers(work) == []
    assert "killed" not in running.log.read_text()

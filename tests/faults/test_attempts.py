"""Processes killed between the attempts of an execution: it ends once, after no more attempts than it has."""

import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from tests.client import Client
from tests.faults import canaries
from tests.faults.stage import alone
from tests.instance import AnnalsInstance, eventually

pytestmark = pytest.mark.timeout(600)
TAKEN_UP_SECONDS = 90
CODE = """
let calls = 0;
module.exports = async ({ req, res, error }) => {
  calls += 1;
  if (req.path === '/slow') await new Promise((r) => setTimeout(r, 60000));
  if (req.path === '/twice' && calls < 2) { error('not yet'); return res.text('', 500); }
  if (req.path === '/never') return res.text('', 500);
  return res.text('done');
};
"""


@pytest.fixture(scope="module")
def instance() -> Iterator[AnnalsInstance]:
    with alone(ANNALS_LEASE_S="5") as running:
        yield running


@pytest.fixture(scope="module")
def client(instance: AnnalsInstance) -> Client:
    made = canaries.client(instance)
    made.function("tried", CODE, timeout=90)
    policy: dict[str, Any] = {"scaling": {"minWarm": 1}, "retries": {"attempts": 2, "backoffSeconds": 1}}
    made.call("PUT", "/functions/tried/policy", json=policy)
    return made


def attempts(client: Client, execution_id: str) -> Any:
    return client.call("GET", f"/functions/tried/executions/{execution_id}/attempts")


def later(client: Client, path: str) -> str:
    return str(client.execute("tried", path=path, **{"async": True})["$id"])


def test_instance_stands_ready_before_the_first_call(instance: AnnalsInstance, client: Client) -> None:
    def ready() -> bool:
        told = [row["doing"] for row in instance.processes() if row["role"].startswith("executor")]
        return any("1 instances" in doing for doing in told)

    eventually(ready, TAKEN_UP_SECONDS, explain=lambda: str(instance.processes()))
    execution = client.execute("tried")
    told = attempts(client, execution["$id"])["attempts"]
    assert (told[0]["cold"], told[0]["startTime"]) == (False, 0.0)


def test_run_that_fails_once_is_completed_by_the_next_attempt(client: Client) -> None:
    client.call("PUT", "/functions/tried", json={"name": "anew"})  # another environment: counts from nothing
    execution = later(client, "/twice")

    eventually(lambda: client.execution("tried", execution)["status"] == "completed", TAKEN_UP_SECONDS)

    told = attempts(client, execution)
    assert [(one["status"], one["reason"]) for one in told["attempts"]] == [("failed", "error"), ("completed", "")]


def test_worker_killed_in_an_attempt_and_a_keeper_before_the_next_cost_one_attempt(
    instance: AnnalsInstance, client: Client
) -> None:
    execution = later(client, "/slow")
    eventually(lambda: client.execution("tried", execution)["status"] == "processing")
    os.kill(instance.pid_of("worker1"), signal.SIGKILL)
    eventually(lambda: attempts(client, execution)["attempts"][0]["reason"] == "worker_lost", TAKEN_UP_SECONDS)
    os.kill(instance.pid_of("keeper"), signal.SIGKILL)

    eventually(lambda: len(attempts(client, execution)["attempts"]) == 2, TAKEN_UP_SECONDS)

    client.call("PATCH", f"/functions/tried/executions/{execution}/status")
    told = attempts(client, execution)
    assert [one["reason"] for one in told["attempts"]] == ["worker_lost", "canceled"]
    assert client.execution("tried", execution)["status"] == "failed"


def test_what_is_given_up_is_redriven_when_the_code_is_better(client: Client) -> None:
    execution = later(client, "/never")
    letters = eventually(
        lambda: client.call("GET", "/functions/tried/dead-letters")["deadLetters"], TAKEN_UP_SECONDS
    )  # fmt: skip
    assert [(letter["$id"], letter["attempts"], letter["reason"]) for letter in letters] == [(execution, 2, "error")]
    client.ready("tried", client.deploy("tried", {"index.js": "module.exports = async ({ res }) => res.text('ok')"}))

    again = client.call("POST", "/functions/tried/dead-letters/redrive")

    [redriven] = again["redriven"]
    eventually(lambda: client.execution("tried", redriven["executionId"])["status"] == "completed", TAKEN_UP_SECONDS)
    assert client.call("GET", "/functions/tried/dead-letters")["total"] == 0

"""Processes killed between the attempts of an execution, which still ends once and within its number of attempts."""

import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from tests.client import Client
from tests.faults import canaries
from tests.faults.stage import checked_instance
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
    with checked_instance(ANNALS_LEASE_S="5") as running:
        yield running


@pytest.fixture(scope="module")
def client(instance: AnnalsInstance) -> Client:
    made = canaries.client(instance)
    made.function("retried", CODE, timeout=90)
    policy: dict[str, Any] = {"scaling": {"minWarm": 1}, "retries": {"attempts": 2, "backoffSeconds": 1}}
    made.call("PUT", "/functions/retried/policy", json=policy)
    return made


def attempts(client: Client, execution_id: str) -> Any:
    return client.call("GET", f"/functions/retried/executions/{execution_id}/attempts")


def later(client: Client, path: str) -> str:
    return str(client.execute("retried", path=path, **{"async": True})["$id"])


def test_prewarmed_instance_is_ready_before_the_first_call(instance: AnnalsInstance, client: Client) -> None:
    def ready() -> bool:
        shown = [row["doing"] for row in instance.processes() if row["role"].startswith("executor")]
        return any("1 instances" in doing for doing in shown)

    eventually(ready, TAKEN_UP_SECONDS, explain=lambda: str(instance.processes()))
    execution = client.execute("retried")
    first = attempts(client, execution["$id"])["attempts"][0]
    assert (first["cold"], first["startTime"]) == (False, 0.0)


def test_execution_that_fails_once_completes_on_its_second_attempt(client: Client) -> None:
    client.call("PUT", "/functions/retried", json={"name": "renamed"})  # a new environment: its counter starts at zero
    execution = later(client, "/twice")

    eventually(lambda: client.execution("retried", execution)["status"] == "completed", TAKEN_UP_SECONDS)

    recorded = attempts(client, execution)["attempts"]
    assert [(one["status"], one["reason"]) for one in recorded] == [("failed", "error"), ("completed", "")]


def test_killed_worker_and_keeper_cost_one_attempt(instance: AnnalsInstance, client: Client) -> None:
    execution = later(client, "/slow")
    eventually(lambda: client.execution("retried", execution)["status"] == "processing")
    os.kill(instance.pid_of("worker1"), signal.SIGKILL)
    eventually(lambda: attempts(client, execution)["attempts"][0]["reason"] == "worker_lost", TAKEN_UP_SECONDS)
    os.kill(instance.pid_of("keeper"), signal.SIGKILL)

    eventually(lambda: len(attempts(client, execution)["attempts"]) == 2, TAKEN_UP_SECONDS)

    client.call("PATCH", f"/functions/retried/executions/{execution}/status")
    recorded = attempts(client, execution)["attempts"]
    assert [one["reason"] for one in recorded] == ["worker_lost", "canceled"]
    assert client.execution("retried", execution)["status"] == "failed"


def test_dead_letter_completes_when_redriven_after_a_fix(client: Client) -> None:
    execution = later(client, "/never")
    letters = eventually(
        lambda: client.call("GET", "/functions/retried/dead-letters")["deadLetters"], TAKEN_UP_SECONDS
    )  # fmt: skip
    assert [(letter["$id"], letter["attempts"], letter["reason"]) for letter in letters] == [(execution, 2, "error")]
    fixed = client.deploy("retried", {"index.js": "module.exports = async ({ res }) => res.text('ok')"})
    client.ready("retried", fixed)

    again = client.call("POST", "/functions/retried/dead-letters/redrive")

    [redriven] = again["redriven"]
    eventually(lambda: client.execution("retried", redriven["executionId"])["status"] == "completed", TAKEN_UP_SECONDS)
    assert client.call("GET", "/functions/retried/dead-letters")["total"] == 0

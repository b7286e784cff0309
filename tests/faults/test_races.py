"""Two things that meet, twenty times each, on real processes: nothing is lost, nothing ends twice, no answer lies."""

import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from annals.app.deployments.ranges import CHUNK
from annals.domain.execution import Execution
from annals.domain.function import Function
from tests.client import Client, packed
from tests.faults import canaries, invariants
from tests.faults.history import History
from tests.faults.meeting import chunk, meet, statuses
from tests.faults.stage import alone
from tests.instance import AnnalsInstance, eventually

pytestmark = [pytest.mark.timeout(240), pytest.mark.usefixtures("raced")]
TRIALS = 20
LEASE_SECONDS = 2
CODE = """
module.exports = async ({ req, res }) => {
  await new Promise((r) => setTimeout(r, Number(req.query.ms ?? 0)));
  return res.text(process.env.APPWRITE_FUNCTION_NAME);
};
"""


@pytest.fixture(scope="module")
def instance() -> Iterator[AnnalsInstance]:
    with alone(ANNALS_LEASE_S=str(LEASE_SECONDS), ANNALS_WORKERS="2") as running:
        yield running


@pytest.fixture(scope="module")
def client(instance: AnnalsInstance) -> Client:
    """Its connections end at both API processes."""
    made = canaries.client(instance)
    made.function("called", CODE, timeout=20)
    return made


@pytest.fixture(scope="module")
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(50) as made:
        yield made


def stream(kind: str, own_id: str) -> str:
    return f"{kind}:default:{own_id}"


def test_a_cancel_that_meets_the_end_leaves_one_of_both(
    instance: AnnalsInstance, client: Client, pool: ThreadPoolExecutor
) -> None:
    client.execute("called")

    def trial(number: int) -> tuple[str, httpx.Response]:
        made = client.execute("called", path=f"/?ms={number * 5}", **{"async": True})["$id"]
        time.sleep(random.random() * 0.25)
        return made, client.http.patch(f"/functions/called/executions/{made}/status")

    told = list(pool.map(trial, range(TRIALS)))

    eventually(lambda: {client.execution("called", one)["status"] for one, _ in told} <= {"completed", "failed"})
    history = History(instance)
    for one, answer in told:
        canceled = history.of(stream("execution", one), Execution.Canceled)
        assert (answer.status_code < 300) == bool(canceled), answer.text


def test_an_activation_that_meets_a_deletion_leaves_what_is_there_or_nothing(
    client: Client, pool: ThreadPoolExecutor
) -> None:
    client.function("switched", CODE)
    made = [client.deploy("switched", {"index.js": CODE}, activate="false") for _ in range(TRIALS)]
    for one in made:
        client.ready("switched", one)
    for one in made:
        answers = meet(
            pool,
            lambda one=one: client.http.patch("/functions/switched/deployment", json={"deploymentId": one}),  # type: ignore[misc]
            lambda one=one: client.http.delete(f"/functions/switched/deployments/{one}"),  # type: ignore[misc]
            most=0.02,
        )
        assert statuses(answers) <= {200, 204, 404}, [answer.text for answer in answers]
        active = client.call("GET", "/functions/switched")["deploymentId"]
        assert active != one, "a deployment that is gone answers"
        if active:
            client.deployment("switched", active)


def test_a_function_that_goes_while_it_builds_runs_and_is_uploaded_leaves_nothing(
    instance: AnnalsInstance, client: Client, pool: ThreadPoolExecutor
) -> None:
    def trial(number: int) -> set[int]:
        own_id = f"goes-{number}"
        client.function(own_id, CODE)
        with ThreadPoolExecutor(5) as own:
            answers = meet(
                own,
                lambda: upload(client, own_id, packed({"index.js": CODE + f"// {number}"})),
                lambda: client.http.post(f"/functions/{own_id}/executions", json={"path": "/?ms=100"}),
                lambda: client.http.post(f"/functions/{own_id}/executions", json={"async": True}),
                lambda: chunk(client, own_id, f"half-{number}", b"x" * (CHUNK + 1), 0),
                lambda: client.http.delete(f"/functions/{own_id}"),
                most=0.4,
            )
        assert client.http.get(f"/functions/{own_id}").status_code == 404
        return statuses(answers)

    with ThreadPoolExecutor(4) as few:
        told = set().union(*few.map(trial, range(TRIALS)))

    assert told <= {201, 202, 204, 404, 409}, told
    names = {f"goes-{number}" for number in range(TRIALS)}
    eventually(
        lambda: not names & invariants.functions_with_rows(instance),
        invariants.quiet_seconds(instance),
        explain=lambda: invariants.rows_of_functions(instance),
    )


def test_of_fifty_who_create_one_id_one_does(client: Client, pool: ThreadPoolExecutor) -> None:
    for trial in range(TRIALS):
        sent = {"functionId": f"one-of-many-{trial}", "name": "n", "runtime": "node-22"}
        answers = meet(pool, *[lambda: client.http.post("/functions", json=sent)] * 50)  # noqa: B023 (called at once)

        told = sorted(answer.status_code for answer in answers)
        assert told == [201, *[409] * 49]


def test_a_first_call_that_meets_a_change_runs_with_one_of_both_and_says_with_which(
    instance: AnnalsInstance, client: Client, pool: ThreadPoolExecutor
) -> None:
    client.function("changed", CODE)
    for trial in range(TRIALS):
        answers = meet(
            pool,
            lambda: client.http.post("/functions/changed/executions", json={}),
            lambda trial=trial: client.http.put("/functions/changed", json={"name": f"name {trial}"}),  # type: ignore[misc]
            lambda: client.http.post("/functions/changed/executions", json={"async": True}),
            most=0.05,
        )
        assert statuses(answers) <= {200, 201, 202}, [answer.text for answer in answers]
        ran = answers[0].json()
        assert ran["status"] == "completed", ran
        history = History(instance)
        (end,) = history.of(stream("execution", ran["$id"]), Execution.Completed)
        assert ran["responseBody"] == name_at(history, "changed", end.ran.function_version)


def upload(client: Client, function_id: str, archive: bytes) -> httpx.Response:
    code = {"code": ("code.tar.gz", archive, "application/gzip")}
    return client.http.post(f"/functions/{function_id}/deployments", files=code, data={"activate": "true"})


def name_at(history: History, function_id: str, version: int) -> Any:
    """What a function was called at a version of its stream."""
    events = history.of(stream("function", function_id), Function.Created | Function.Updated)  # type: ignore[arg-type]
    before = [one for one in events if one.originator_version <= version]
    return before[-1].configuration.name

"""Races of two requests on real processes, twenty trials each: nothing is lost or ends twice, and answers are true."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import httpx
import pytest

from annals.app.deployments.ranges import CHUNK
from annals.domain.deployment import Deployment
from annals.domain.execution import Execution
from annals.domain.function import Function
from tests.client import Client, packed
from tests.faults import canaries, invariants
from tests.faults.concurrent_calls import TimingSearch, call_at_once, chunk, ordered, statuses
from tests.faults.invariants import History
from tests.faults.stage import checked_instance, paused
from tests.instance import AnnalsInstance, eventually

pytestmark = [pytest.mark.timeout(240), pytest.mark.usefixtures("history_holds")]
TRIALS, CLAIMED = 20, 4
LEASE_SECONDS = 2
CODE = """
module.exports = async ({ req, res }) => {
  await new Promise((r) => setTimeout(r, Number(req.query.ms ?? 0)));
  return res.text(process.env.APPWRITE_FUNCTION_NAME);
};
"""


@pytest.fixture(scope="module")
def instance() -> Iterator[AnnalsInstance]:
    with checked_instance(ANNALS_LEASE_S=str(LEASE_SECONDS), ANNALS_WORKERS="2") as running:
        yield running


@pytest.fixture(scope="module")
def client(instance: AnnalsInstance) -> Client:
    """Return a client whose connections reach both API processes."""
    made = canaries.client(instance)
    made.function("called", CODE, timeout=20)
    return made


@pytest.fixture(scope="module")
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(50) as made:
        yield made


def stream(kind: str, own_id: str) -> str:
    return f"{kind}:default:{own_id}"


def test_cancel_that_races_the_end_of_a_call_records_one_outcome(instance: AnnalsInstance, client: Client) -> None:
    took = seconds_of(lambda: client.execute("called", path="/?ms=50"))
    search, answers = TimingSearch(0.0, 2 * took), {}

    for _ in range(TRIALS):
        made = client.execute("called", path="/?ms=50", **{"async": True})["$id"]
        time.sleep(max(search.moment, 0))
        answers[made] = client.http.patch(f"/functions/called/executions/{made}/status")
        search.record(too_early=answers[made].is_success)

    assert search.saw_both
    eventually(lambda: {client.execution("called", one)["status"] for one in answers} <= {"completed", "failed"})
    history = History(instance)
    for one, answer in answers.items():
        canceled = history.of(stream("execution", one), Execution.Canceled)
        assert answer.is_success == bool(canceled), answer.text


def test_cancel_that_races_the_end_of_a_build_records_one_outcome(
    instance: AnnalsInstance, client: Client, pool: ThreadPoolExecutor
) -> None:
    def trials(function_id: str) -> dict[str, httpx.Response]:
        began = time.monotonic()
        client.function(function_id, CODE)
        search, answers = TimingSearch(0.0, time.monotonic() - began), {}
        for number in range(TRIALS // 2):
            made = client.deploy(function_id, {"index.js": f"{CODE}// {number}"})
            time.sleep(max(search.moment, 0))
            answers[made] = client.http.patch(f"/functions/{function_id}/deployments/{made}/status")
            search.record(too_early=answers[made].is_success)
            ended = client.built(function_id, made)
            assert ended["status"] == ("canceled" if answers[made].is_success else "ready"), answers[made].text
            active = client.call("GET", f"/functions/{function_id}")["deploymentId"]
            assert (active == made) == (ended["status"] == "ready")
        assert search.saw_both
        return answers

    canceled = [answer for one in pool.map(trials, ("canceled-1", "canceled-2")) for answer in one.items()]

    history = History(instance)
    for one, answer in canceled:
        assert answer.is_success == bool(history.of(stream("deployment", one), Deployment.BuildCanceled)), answer.text
        assert answer.is_success != bool(history.of(stream("deployment", one), Deployment.BuildSucceeded)), answer.text


def test_activation_that_races_a_deletion_never_activates_a_deleted_deployment(
    client: Client, pool: ThreadPoolExecutor
) -> None:
    client.function("switched", CODE)
    made = [client.deploy("switched", {"index.js": CODE}, activate="false") for _ in range(TRIALS)]
    for one in made:
        client.ready("switched", one)
    search = TimingSearch(0.0, 0.02)
    for one in made:
        activated, deleted = ordered(
            pool,
            lambda one=one: client.http.patch("/functions/switched/deployment", json={"deploymentId": one}),  # type: ignore[misc]
            lambda one=one: client.http.delete(f"/functions/switched/deployments/{one}"),  # type: ignore[misc]
            search.moment,
        )
        search.record(too_early=activated.status_code == 404)
        assert (activated.status_code, deleted.status_code) in {(200, 204), (404, 204)}, (activated.text, deleted.text)
        active = client.call("GET", "/functions/switched")["deploymentId"]
        assert active != one, "a deleted deployment is active"
        if active:
            client.deployment("switched", active)
    assert search.saw_both


def test_function_deleted_during_builds_calls_and_uploads_leaves_no_rows(
    instance: AnnalsInstance, client: Client, pool: ThreadPoolExecutor
) -> None:
    def trial(number: int) -> set[int]:
        own_id = f"deleted-{number}"
        client.function(own_id, CODE)
        with ThreadPoolExecutor(5) as callers:
            answers = call_at_once(
                callers,
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
        found = set().union(*few.map(trial, range(TRIALS)))

    assert found <= {201, 202, 204, 404, 409}, found
    assert found >= {202, 404}, "every request came before the deletion, or every request after it"
    names = {f"deleted-{number}" for number in range(TRIALS)}
    eventually(
        lambda: not names & invariants.functions_with_rows(instance),
        invariants.quiet_seconds(instance),
        explain=lambda: invariants.rows_of_functions(instance),
    )


def test_concurrent_creates_of_one_id_succeed_once(client: Client, pool: ThreadPoolExecutor) -> None:
    for trial in range(TRIALS):
        sent = {"functionId": f"one-of-many-{trial}", "name": "n", "runtime": "node-22"}
        create = partial(client.http.post, "/functions", json=sent)

        answers = call_at_once(pool, *[create] * 50)

        assert sorted(answer.status_code for answer in answers) == [201, *[409] * 49]


def test_call_that_races_an_update_runs_and_records_one_version(
    instance: AnnalsInstance, client: Client, pool: ThreadPoolExecutor
) -> None:
    client.function("changed", CODE)
    search = TimingSearch(0.0, 0.05)
    for trial in range(TRIALS):
        name = f"name {trial}"
        waiting = pool.submit(client.http.post, "/functions/changed/executions", json={"async": True})
        called, changed = ordered(
            pool,
            lambda: client.http.post("/functions/changed/executions", json={}),
            lambda name=name: client.http.put("/functions/changed", json={"name": name}),  # type: ignore[misc]
            search.moment,
        )
        answers = [called, changed, waiting.result()]
        assert statuses(answers) <= {200, 201, 202}, [answer.text for answer in answers]
        ran = called.json()
        assert ran["status"] == "completed", ran
        search.record(too_early=ran["responseBody"] == name)
        history = History(instance)
        (end,) = history.of(stream("execution", ran["$id"]), Execution.Completed)
        assert ran["responseBody"] == name_at(history, "changed", end.ran.function_version)
    assert search.saw_both


def test_claims_of_a_worker_that_wakes_at_its_lease_end_have_one_outcome(
    instance: AnnalsInstance, client: Client
) -> None:
    workers = [row["pid"] for row in instance.processes() if row["role"].startswith("worker")]
    search = TimingSearch(LEASE_SECONDS / 2, LEASE_SECONDS / 2)
    for _ in range(TRIALS // CLAIMED):
        claimed = [client.execute("called", path="/?ms=300", **{"async": True})["$id"] for _ in range(CLAIMED)]
        eventually(lambda ids=claimed: all(status(client, one) == "processing" for one in ids))  # type: ignore[misc]
        with paused(*workers):
            time.sleep(search.moment)
        new = [client.execute("called", **{"async": True})["$id"] for _ in range(CLAIMED)]
        assert client.execute("called")["status"] == "completed"
        eventually(lambda ids=(*claimed, *new): {status(client, one) for one in ids} <= {"completed", "failed"})  # type: ignore[misc]
        for one in (*claimed, *new):
            ended = client.execution("called", one)
            assert ended["status"] == "completed" or "lost" in ended["errors"], ended
        search.record(too_early={status(client, one) for one in claimed} == {"completed"})
    assert search.saw_both


def status(client: Client, execution_id: str) -> str:
    return str(client.execution("called", execution_id)["status"])


def seconds_of(work: Callable[[], object]) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began


def upload(client: Client, function_id: str, archive: bytes) -> httpx.Response:
    code = {"code": ("code.tar.gz", archive, "application/gzip")}
    return client.http.post(f"/functions/{function_id}/deployments", files=code, data={"activate": "true"})


def name_at(history: History, function_id: str, version: int) -> Any:
    """Return a function's name at a version of its stream."""
    events = history.of(stream("function", function_id), Function.Created | Function.Updated)  # type: ignore[arg-type]
    before = [one for one in events if one.originator_version <= version]
    return before[-1].configuration.name

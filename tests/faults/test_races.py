"""Two things that meet, twenty times each, on real processes: nothing is lost, nothing ends twice, no answer lies."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from annals.app.deployments.ranges import CHUNK
from annals.domain.deployment import Deployment
from annals.domain.execution import Execution
from annals.domain.function import Function
from tests.client import Client, packed
from tests.faults import canaries, invariants
from tests.faults.history import History
from tests.faults.meeting import Approach, chunk, meet, ordered, statuses
from tests.faults.stage import alone, paused
from tests.instance import AnnalsInstance, eventually

pytestmark = [pytest.mark.timeout(240), pytest.mark.usefixtures("raced")]
TRIALS, HELD = 20, 4
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


def test_cancel_that_meets_the_end_leaves_one_of_both(instance: AnnalsInstance, client: Client) -> None:
    took = seconds_of(lambda: client.execute("called", path="/?ms=50"))
    approach, told = Approach(0.0, 2 * took), {}

    for _ in range(TRIALS):
        made = client.execute("called", path="/?ms=50", **{"async": True})["$id"]
        time.sleep(max(approach.moment, 0))
        told[made] = client.http.patch(f"/functions/called/executions/{made}/status")
        approach.told(too_early=told[made].is_success)

    assert approach.both
    eventually(lambda: {client.execution("called", one)["status"] for one in told} <= {"completed", "failed"})
    history = History(instance)
    for one, answer in told.items():
        canceled = history.of(stream("execution", one), Execution.Canceled)
        assert answer.is_success == bool(canceled), answer.text


def test_cancel_that_meets_the_end_of_a_build_leaves_one_of_both(
    instance: AnnalsInstance, client: Client, pool: ThreadPoolExecutor
) -> None:
    def trials(function_id: str) -> dict[str, httpx.Response]:
        began = time.monotonic()
        client.function(function_id, CODE)
        approach, told = Approach(0.0, time.monotonic() - began), {}
        for number in range(TRIALS // 2):
            made = client.deploy(function_id, {"index.js": f"{CODE}// {number}"})
            time.sleep(max(approach.moment, 0))
            told[made] = client.http.patch(f"/functions/{function_id}/deployments/{made}/status")
            approach.told(too_early=told[made].is_success)
            ended = client.built(function_id, made)
            assert ended["status"] == ("canceled" if told[made].is_success else "ready"), told[made].text
            active = client.call("GET", f"/functions/{function_id}")["deploymentId"]
            assert (active == made) == (ended["status"] == "ready")
        assert approach.both
        return told

    told = [answer for one in pool.map(trials, ("canceled-1", "canceled-2")) for answer in one.items()]

    history = History(instance)
    for one, answer in told:
        assert answer.is_success == bool(history.of(stream("deployment", one), Deployment.BuildCanceled)), answer.text
        assert answer.is_success != bool(history.of(stream("deployment", one), Deployment.BuildSucceeded)), answer.text


def test_activation_that_meets_a_deletion_leaves_what_is_there_or_nothing(
    client: Client, pool: ThreadPoolExecutor
) -> None:
    client.function("switched", CODE)
    made = [client.deploy("switched", {"index.js": CODE}, activate="false") for _ in range(TRIALS)]
    for one in made:
        client.ready("switched", one)
    approach = Approach(0.0, 0.02)
    for one in made:
        activated, deleted = ordered(
            pool,
            lambda one=one: client.http.patch("/functions/switched/deployment", json={"deploymentId": one}),  # type: ignore[misc]
            lambda one=one: client.http.delete(f"/functions/switched/deployments/{one}"),  # type: ignore[misc]
            approach.moment,
        )
        approach.told(too_early=activated.status_code == 404)
        assert (activated.status_code, deleted.status_code) in {(200, 204), (404, 204)}, (activated.text, deleted.text)
        active = client.call("GET", "/functions/switched")["deploymentId"]
        assert active != one, "a deployment that is gone answers"
        if active:
            client.deployment("switched", active)
    assert approach.both


def test_function_that_goes_while_it_builds_runs_and_is_uploaded_leaves_nothing(
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
    assert told >= {202, 404}, "none came in time, or none too late"
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


def test_first_call_that_meets_a_change_runs_with_one_of_both_and_says_with_which(
    instance: AnnalsInstance, client: Client, pool: ThreadPoolExecutor
) -> None:
    client.function("changed", CODE)
    approach = Approach(0.0, 0.05)
    for trial in range(TRIALS):
        name = f"name {trial}"
        waiting = pool.submit(client.http.post, "/functions/changed/executions", json={"async": True})
        called, changed = ordered(
            pool,
            lambda: client.http.post("/functions/changed/executions", json={}),
            lambda name=name: client.http.put("/functions/changed", json={"name": name}),  # type: ignore[misc]
            approach.moment,
        )
        answers = [called, changed, waiting.result()]
        assert statuses(answers) <= {200, 201, 202}, [answer.text for answer in answers]
        ran = called.json()
        assert ran["status"] == "completed", ran
        approach.told(too_early=ran["responseBody"] == name)
        history = History(instance)
        (end,) = history.of(stream("execution", ran["$id"]), Execution.Completed)
        assert ran["responseBody"] == name_at(history, "changed", end.ran.function_version)
    assert approach.both


def test_what_a_worker_holds_that_wakes_as_it_is_judged_has_one_end_and_calls_go_on(
    instance: AnnalsInstance, client: Client
) -> None:
    workers = [row["pid"] for row in instance.processes() if row["role"].startswith("worker")]
    approach = Approach(LEASE_SECONDS / 2, LEASE_SECONDS / 2)
    for _ in range(TRIALS // HELD):
        held = [client.execute("called", path="/?ms=300", **{"async": True})["$id"] for _ in range(HELD)]
        eventually(lambda held=held: all(status(client, one) == "processing" for one in held))  # type: ignore[misc]
        with paused(*workers):
            time.sleep(approach.moment)
        new = [client.execute("called", **{"async": True})["$id"] for _ in range(HELD)]
        assert client.execute("called")["status"] == "completed"
        eventually(lambda all_=(*held, *new): {status(client, one) for one in all_} <= {"completed", "failed"})  # type: ignore[misc]
        for one in (*held, *new):
            ended = client.execution("called", one)
            assert ended["status"] == "completed" or "lost" in ended["errors"], ended
        approach.told(too_early={status(client, one) for one in held} == {"completed"})
    assert approach.both


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
    """What a function was called at a version of its stream."""
    events = history.of(stream("function", function_id), Function.Created | Function.Updated)  # type: ignore[arg-type]
    before = [one for one in events if one.originator_version <= version]
    return before[-1].configuration.name

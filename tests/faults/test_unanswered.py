"""Processes killed or cut off between commit and answer: a retry gets the answer of the event, recorded once."""

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, LiteralString

import httpx
import psycopg
import pytest

from tests.faults.stage import Stage, staged
from tests.instance import eventually

pytestmark = [pytest.mark.timeout(600), pytest.mark.usefixtures("invariants_hold")]
HELLO = "module.exports = async ({ req, res }) => res.text(req.path)"
BACK_SECONDS = 90


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with staged() as made:
        made.client.function("hello", HELLO)
        yield made


def recorded(stage: Stage, topic: str) -> int:
    """Return the number of events of a topic."""
    return counted(stage, "SELECT count(*) FROM events WHERE topic = %s", topic)


def counted(stage: Stage, query: LiteralString, *values: str) -> int:
    """Return a count that is read without the proxy."""
    with psycopg.connect(stage.postgres.url()) as conn:
        row = conn.execute(query, values).fetchone()
    assert row is not None
    return int(row[0])


def unanswered(stage: Stage, topic: str, words: str, *roles: str, path: str, sent: dict[str, Any]) -> None:
    """Send a request, then kill the processes of these roles after the commit and before the answer.

    `words` are a part of the request that the proxy recognises.
    """
    before = recorded(stage, topic)
    pids = [stage.instance.pid_of(role) for role in ("api1", "api2", *roles)]
    stage.to_postgres.swallow_answers_to(words.encode())
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(ask, stage, path, sent)
        eventually(lambda: recorded(stage, topic) > before)
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        error = asking.exception()
    assert isinstance(error, httpx.TransportError), error
    stage.heal()


def ask(stage: Stage, path: str, sent: dict[str, Any], key: str = "") -> httpx.Response:
    headers = {**stage.instance.headers, "idempotency-key": key or f"once-{path}"}
    return httpx.post(f"{stage.instance.endpoint}{path}", json=sent, headers=headers, timeout=100)


def asked_again(stage: Stage, path: str, sent: dict[str, Any], key: str = "") -> httpx.Response:
    """Repeat a request until it has an answer, and return the answer."""

    def answered() -> httpx.Response | None:
        try:
            answer = ask(stage, path, sent, key)
        except httpx.TransportError:
            return None
        return answer if answer.status_code < 500 else None

    answer: httpx.Response = eventually(answered, BACK_SECONDS)
    return answer


def test_event_recorded_before_its_api_was_killed_answers_the_retry(stage: Stage) -> None:
    sent = {"functionId": "unique()", "name": "made unheard", "runtime": "node-22"}
    before = recorded(stage, "function.created")

    unanswered(stage, "function.created", "made unheard", path="/functions", sent=sent)

    again = asked_again(stage, "/functions", sent)
    assert (again.status_code, again.json()["name"]) == (201, "made unheard")
    assert recorded(stage, "function.created") == before + 1


def test_execution_accepted_before_api_and_keeper_are_killed_runs_once(stage: Stage) -> None:
    """No client got an answer and no worker a job message; only the event says that the execution must run."""
    sent = {"async": True, "path": "/accepted-unheard"}
    path = "/functions/hello/executions"
    before = recorded(stage, "execution.requested")
    # The keeper is paused, so that it sends no job message before it is killed.
    os.kill(stage.instance.pid_of("keeper"), signal.SIGSTOP)

    unanswered(stage, "execution.requested", "/accepted-unheard", "keeper", path=path, sent=sent)

    own_id = asked_again(stage, path, sent).json()["$id"]
    eventually(lambda: stage.client.execution("hello", own_id)["status"] == "completed", BACK_SECONDS)
    assert recorded(stage, "execution.requested") == before + 1
    assert recorded(stage, "execution.completed") == 1


def test_request_cut_off_by_a_postgres_outage_is_answered_on_retry(stage: Stage) -> None:
    """No process ends, so no lease frees the key: the process that holds it has to."""
    sent = {"functionId": "unique()", "name": "made in an outage", "runtime": "node-22"}
    before = recorded(stage, "function.created")
    stage.to_postgres.swallow_answers_to(b"made in an outage")
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(ask, stage, "/functions", sent, "outage")
        eventually(lambda: recorded(stage, "function.created") > before)
        stage.to_postgres.refuse()
        assert asking.result().status_code == 503
    stage.heal()

    again = asked_again(stage, "/functions", sent, "outage")

    assert (again.status_code, again.json()["name"]) == (201, "made in an outage")
    assert recorded(stage, "function.created") == before + 1


def test_connection_that_breaks_while_a_key_is_claimed_does_not_block_the_key(stage: Stage) -> None:
    sent = {"functionId": "unique()", "name": "made at once", "runtime": "node-22"}
    taken: LiteralString = "SELECT count(*) FROM idempotency_keys WHERE key = %s"
    before = recorded(stage, "function.created")
    stage.to_postgres.swallow_answers_to(b"key-that-is-taken")
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(ask, stage, "/functions", sent, "key-that-is-taken")
        eventually(lambda: counted(stage, taken, "key-that-is-taken") == 1)
        stage.heal()
        stage.to_postgres.cut()
        answer = asking.result()

    assert (answer.status_code, answer.json()["name"]) == (201, "made at once")
    assert recorded(stage, "function.created") == before + 1

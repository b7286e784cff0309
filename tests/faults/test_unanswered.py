"""Killed or cut off between commit and answer: what was recorded is there once, ends, and is told to who asks again."""

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

pytestmark = [pytest.mark.timeout(600), pytest.mark.usefixtures("held")]
HELLO = "module.exports = async ({ req, res }) => res.text(req.path)"
BACK_SECONDS = 90


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with staged() as made:
        made.client.function("hello", HELLO)
        yield made


def recorded(stage: Stage, topic: str) -> int:
    """How many events of a topic are on disk."""
    return counted(stage, "SELECT count(*) FROM events WHERE topic = %s", topic)


def counted(stage: Stage, query: LiteralString, *values: str) -> int:
    """Asked behind the proxy's back."""
    with psycopg.connect(stage.postgres.url()) as conn:
        row = conn.execute(query, values).fetchone()
    assert row is not None
    return int(row[0])


def unanswered(stage: Stage, topic: str, words: str, *roles: str, path: str, sent: dict[str, Any]) -> None:
    """A request, known by its words, whose event is committed and whose answer never comes: then these are killed."""
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
    """The answer to the same request, once there is one."""

    def told() -> httpx.Response | None:
        try:
            answer = ask(stage, path, sent, key)
        except httpx.TransportError:
            return None
        return answer if answer.status_code < 500 else None

    answer: httpx.Response = eventually(told, BACK_SECONDS)
    return answer


def test_what_an_api_recorded_before_it_was_killed_is_answered_to_who_asks_again(stage: Stage) -> None:
    sent = {"functionId": "unique()", "name": "made unheard", "runtime": "node-22"}
    before = recorded(stage, "function.created")

    unanswered(stage, "function.created", "made unheard", path="/functions", sent=sent)

    again = asked_again(stage, "/functions", sent)
    assert (again.status_code, again.json()["name"]) == (201, "made unheard")
    assert recorded(stage, "function.created") == before + 1


def test_what_was_accepted_before_api_and_keeper_were_killed_runs_once(stage: Stage) -> None:
    """Nobody was answered, and nobody was woken: the event alone says that it is to run."""
    sent = {"async": True, "path": "/accepted-unheard"}
    path = "/functions/hello/executions"
    before = recorded(stage, "execution.requested")
    # The keeper stands still, so that nothing of it is on the way to the queue when it is killed.
    os.kill(stage.instance.pid_of("keeper"), signal.SIGSTOP)

    unanswered(stage, "execution.requested", "/accepted-unheard", "keeper", path=path, sent=sent)

    own_id = asked_again(stage, path, sent).json()["$id"]
    eventually(lambda: stage.client.execution("hello", own_id)["status"] == "completed", BACK_SECONDS)
    assert recorded(stage, "execution.requested") == before + 1
    assert recorded(stage, "execution.completed") == 1


def test_who_was_put_off_as_postgres_went_away_is_answered_once_it_is_back(stage: Stage) -> None:
    """No process ends, so no lease frees the key: the one that was at work on it has to."""
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


def test_connection_that_breaks_as_a_key_is_taken_keeps_nobody_from_it(stage: Stage) -> None:
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

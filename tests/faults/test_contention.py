"""Contention on real processes, twenty trials each: many writers, chunks in any order, calls of ending instances."""

import contextlib
import http.client
import json
import random
import socket
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import pytest

from annals.app.deployments.ranges import CHUNK
from annals.domain.function import Function
from tests.client import Client
from tests.faults.concurrent_calls import TimingSearch, call_at_once, chunk, chunk_request
from tests.faults.invariants import History
from tests.faults.stage import checked_instance
from tests.instance import AnnalsInstance

pytestmark = [pytest.mark.timeout(400), pytest.mark.usefixtures("history_holds")]
TRIALS = 20
WRITERS = 200
AT_ONCE = 5
IDLE_SECONDS = 1
INSTANCE_ID = "const id = crypto.randomUUID();\nmodule.exports = ({ res }) => res.text(id);"


@pytest.fixture(scope="module")
def instance() -> Iterator[AnnalsInstance]:
    settings = {"ANNALS_LEASE_S": "2", "ANNALS_WORKERS": "2", "ANNALS_IDLE_TIMEOUT_S": str(IDLE_SECONDS)}
    with checked_instance(**settings) as running:
        yield running


def test_call_is_served_when_its_idle_instance_ends(client: Client) -> None:
    """The call runs on that instance or on a new one."""
    client.function("idles", INSTANCE_ID, timeout=30)

    def calls(_caller: int) -> set[str]:
        """Return the ids of the instances that served a row of calls."""
        instance_ids = set()
        for _ in range(TRIALS // AT_ONCE):
            ran = client.execute("idles")
            assert ran["status"] == "completed", ran
            instance_ids.add(ran["responseBody"])
        return instance_ids

    approach, before = TimingSearch(IDLE_SECONDS, 0.5), set[str]()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for trial in range(TRIALS):
            served = set[str]().union(*pool.map(calls, range(AT_ONCE)))
            if trial:
                approach.record(too_early=bool(served & before))
            before = served
            time.sleep(max(approach.moment, 0))
    assert approach.saw_both


def test_concurrent_updates_of_one_function_lose_none_and_match_their_answers(
    instance: AnnalsInstance, client: Client
) -> None:
    answered: Counter[str] = Counter()
    with ThreadPoolExecutor(WRITERS) as pool:
        for trial in range(TRIALS):
            own_id = f"written-{trial}"
            client.call("POST", "/functions", json={"functionId": own_id, "name": "n", "runtime": "node-22"})

            names = [f"{own_id} by {number}" for number in range(WRITERS)]
            answers = list(pool.map(partial(rename, instance, own_id), names))
            for name, (status, answer) in zip(names, answers, strict=True):
                assert (status, answer.get("type")) in {(200, None), (409, "general_conflict")}, answer
                assert status != 200 or answer["name"] == name
            done = [name for name, (status, _) in zip(names, answers, strict=True) if status == 200]
            assert done, "no update succeeded"
            answered.update(done)

    history = History(instance)
    written = Counter[str]()
    for trial in range(TRIALS):
        updates = history.of(f"function:default:written-{trial}", Function.Updated)
        assert [event.originator_version for event in updates] == list(range(2, len(updates) + 2))
        names = [event.configuration.name for event in updates]
        written.update(names)
        assert client.call("GET", f"/functions/written-{trial}")["name"] == names[-1]
    assert written == answered


def rename(instance: AnnalsInstance, function_id: str, name: str) -> tuple[int, dict[str, Any]]:
    """Rename a function over a new connection, and return the status and body of the answer."""
    endpoint = urlsplit(instance.endpoint)
    connection = http.client.HTTPConnection(endpoint.hostname or "", endpoint.port, timeout=120)
    with contextlib.closing(connection):
        headers = {**instance.headers, "content-type": "application/json"}
        connection.request("PUT", f"{endpoint.path}/functions/{function_id}", json.dumps({"name": name}), headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())


def test_chunks_in_any_order_make_the_file_that_was_sent(client: Client) -> None:
    """Chunks arrive in any order, concurrently and twice; one upload breaks off midway."""
    client.call(
        "POST", "/functions", json={"functionId": "filled", "name": "n", "runtime": "node-22", "entrypoint": "i"}
    )

    def trial(number: int) -> None:
        whole = random.randbytes(CHUNK * random.randint(1, 2) + random.randint(1, 5000))
        parts = range(-(-len(whole) // CHUNK))
        own_id = f"disorder-{number}"
        sent = [*parts, *random.choices(parts, k=random.randint(0, 2))]
        random.shuffle(sent)
        break_off(client, "filled", own_id, whole)
        with ThreadPoolExecutor(3) as pool:
            calls = [lambda n=n: chunk(client, "filled", own_id, whole, n) for n in sent]
            answers = call_at_once(pool, *calls, most=0.1)
        errors = [answer.text for answer in answers if answer.status_code not in {202, 429}]
        assert errors == []
        for part in [n for n, answer in zip(sent, answers, strict=True) if answer.status_code == 429]:
            assert chunk(client, "filled", own_id, whole, part).status_code == 202
        assert client.http.get(f"/functions/filled/deployments/{own_id}/download").content == whole
        assert client.deployment("filled", own_id)["sourceSize"] == len(whole)

    with ThreadPoolExecutor(2) as few:
        list(few.map(trial, range(TRIALS)))


def test_contradicting_chunks_are_refused_or_make_a_file_of_sent_bytes(client: Client) -> None:
    """Two clients send different bytes, and a third sends a file of another size, under one id."""
    client.call("POST", "/functions", json={"functionId": "torn", "name": "n", "runtime": "node-22", "entrypoint": "i"})

    def trial(number: int) -> None:
        own_id = f"torn-{number}"
        one, other = random.randbytes(CHUNK + 1000), random.randbytes(CHUNK + 1000)
        longer = one[:CHUNK] + random.randbytes(1000 + random.choice([-4, 4]))
        sent = [(one, 0), (other, 1), (other, 0), (one, 1), (longer, 1)]
        random.shuffle(sent)
        with ThreadPoolExecutor(5) as pool:
            calls = [lambda w=whole, n=part: chunk(client, "torn", own_id, w, n) for whole, part in sent]
            answers = call_at_once(pool, *calls, most=0.1)
        outcomes = [(answer.status_code, answer.json().get("type")) for answer in answers]
        allowed = {
            (400, "storage_invalid_content_range"),
            (429, "general_rate_limit_exceeded"),
            (202, "manual"),
        }
        assert set(outcomes) <= allowed, outcomes
        again = {
            whole: {chunk(client, "torn", own_id, whole, part).status_code for part in (0, 1)}
            for whole in (one, longer)
        }
        assert sorted(again.values(), key=str) == [{202}, {400}], again.values()
        (accepted,) = [whole for whole, codes in again.items() if codes == {202}]
        answer = client.http.get(f"/functions/torn/deployments/{own_id}/download")
        made = answer.content
        assert answer.status_code == 200, answer.text
        assert made[:CHUNK] in {one[:CHUNK], other[:CHUNK]}
        assert made[CHUNK:] in ({one[CHUNK:], other[CHUNK:]} if accepted is one else {longer[CHUNK:]})

    with ThreadPoolExecutor(2) as few:
        list(few.map(trial, range(TRIALS)))


def break_off(client: Client, function_id: str, own_id: str, whole: bytes) -> None:
    """Send a part of the first chunk, and disconnect."""
    request = chunk_request(client, function_id, own_id, whole, 0)
    body, url = request.read(), request.url
    lines = [
        f"POST {url.raw_path.decode()} HTTP/1.1",
        *(f"{name}: {value}" for name, value in request.headers.items()),
    ]
    with socket.create_connection((url.host, url.port or 80), 30) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode() + body[: random.randrange(len(body))])

"""Crowds and disorder, twenty times each, on real processes: many writers, chunks, calls of what just ended."""

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
from tests.faults.history import History
from tests.faults.meeting import Approach, chunk, chunk_request, meet
from tests.faults.stage import alone
from tests.instance import AnnalsInstance

pytestmark = [pytest.mark.timeout(400), pytest.mark.usefixtures("raced")]
TRIALS = 20
WRITERS = 200
AT_ONCE = 5
IDLE_SECONDS = 1
WHO = "const who = crypto.randomUUID();\nmodule.exports = ({ res }) => res.text(who);"


@pytest.fixture(scope="module")
def instance() -> Iterator[AnnalsInstance]:
    settings = {"ANNALS_LEASE_S": "2", "ANNALS_WORKERS": "2", "ANNALS_IDLE_TIMEOUT_S": str(IDLE_SECONDS)}
    with alone(**settings) as running:
        yield running


def test_call_that_meets_the_end_of_an_idle_instance_is_served(client: Client) -> None:
    """By that instance or by another one."""
    client.function("idles", WHO, timeout=30)

    def calls(_caller: int) -> set[str]:
        """As long after another as makes the instance idle for just too long."""
        told = set()
        for _ in range(TRIALS // AT_ONCE):
            ran = client.execute("idles")
            assert ran["status"] == "completed", ran
            told.add(ran["responseBody"])
        return told

    approach, before = Approach(IDLE_SECONDS, 0.5), set[str]()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for trial in range(TRIALS):
            served = set[str]().union(*pool.map(calls, range(AT_ONCE)))
            if trial:
                approach.told(too_early=bool(served & before))
            before = served
            time.sleep(max(approach.moment, 0))
    assert approach.both


def test_of_two_hundred_writers_of_one_function_none_is_lost_and_each_is_answered_as_it_was(
    instance: AnnalsInstance, client: Client
) -> None:
    answered: Counter[str] = Counter()
    with ThreadPoolExecutor(WRITERS) as pool:
        for trial in range(TRIALS):
            own_id = f"written-{trial}"
            client.call("POST", "/functions", json={"functionId": own_id, "name": "n", "runtime": "node-22"})

            names = [f"{own_id} by {number}" for number in range(WRITERS)]
            told = list(pool.map(partial(rename, instance, own_id), names))
            for name, (status, answer) in zip(names, told, strict=True):
                assert (status, answer.get("type")) in {(200, None), (409, "general_conflict")}, answer
                assert status != 200 or answer["name"] == name
            done = [name for name, (status, _) in zip(names, told, strict=True) if status == 200]
            assert done, "nobody was let"
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
    """Over a connection of its own; the answer's status and body."""
    where = urlsplit(instance.endpoint)
    connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=120)
    with contextlib.closing(connection):
        headers = {**instance.headers, "content-type": "application/json"}
        connection.request("PUT", f"{where.path}/functions/{function_id}", json.dumps({"name": name}), headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())


def test_chunks_in_any_disorder_make_the_file_that_was_sent(client: Client) -> None:
    """In any order, at once, twice, and given up midway."""
    client.call(
        "POST", "/functions", json={"functionId": "filled", "name": "n", "runtime": "node-22", "entrypoint": "i"}
    )

    def trial(number: int) -> None:
        whole = random.randbytes(CHUNK * random.randint(1, 2) + random.randint(1, 5000))
        parts = range(-(-len(whole) // CHUNK))
        own_id = f"disorder-{number}"
        sent = [*parts, *random.choices(parts, k=random.randint(0, 2))]
        random.shuffle(sent)
        give_up(client, "filled", own_id, whole)
        with ThreadPoolExecutor(3) as own:
            answers = meet(own, *[lambda n=n: chunk(client, "filled", own_id, whole, n) for n in sent], most=0.1)
        refused = [answer.text for answer in answers if answer.status_code not in {202, 429}]
        assert refused == []
        for part in [n for n, answer in zip(sent, answers, strict=True) if answer.status_code == 429]:
            assert chunk(client, "filled", own_id, whole, part).status_code == 202
        assert client.http.get(f"/functions/filled/deployments/{own_id}/download").content == whole
        assert client.deployment("filled", own_id)["sourceSize"] == len(whole)

    with ThreadPoolExecutor(2) as few:
        list(few.map(trial, range(TRIALS)))


def test_chunks_that_contradict_each_other_make_a_file_of_what_was_sent_or_are_refused(client: Client) -> None:
    """Two clients send other bytes, and a file of another size, under one id."""
    client.call("POST", "/functions", json={"functionId": "torn", "name": "n", "runtime": "node-22", "entrypoint": "i"})

    def trial(number: int) -> None:
        own_id = f"torn-{number}"
        one, other = random.randbytes(CHUNK + 1000), random.randbytes(CHUNK + 1000)
        longer = one[:CHUNK] + random.randbytes(1000 + random.choice([-4, 4]))
        sent = [(one, 0), (other, 1), (other, 0), (one, 1), (longer, 1)]
        random.shuffle(sent)
        with ThreadPoolExecutor(5) as own:
            calls = [lambda w=whole, n=part: chunk(client, "torn", own_id, w, n) for whole, part in sent]
            answers = meet(own, *calls, most=0.1)
        told = [(answer.status_code, answer.json().get("type")) for answer in answers]
        constraint_errors = {
            (400, "storage_invalid_content_range"),
            (429, "general_rate_limit_exceeded"),
            (202, "manual"),
        }
        assert set(told) <= constraint_errors, told
        again = {
            whole: {chunk(client, "torn", own_id, whole, part).status_code for part in (0, 1)}
            for whole in (one, longer)
        }
        assert sorted(again.values(), key=str) == [{202}, {400}], again.values()
        (kept,) = [whole for whole, codes in again.items() if codes == {202}]
        answer = client.http.get(f"/functions/torn/deployments/{own_id}/download")
        made = answer.content
        assert answer.status_code == 200, answer.text
        assert made[:CHUNK] in {one[:CHUNK], other[:CHUNK]}
        assert made[CHUNK:] in ({one[CHUNK:], other[CHUNK:]} if kept is one else {longer[CHUNK:]})

    with ThreadPoolExecutor(2) as few:
        list(few.map(trial, range(TRIALS)))


def give_up(client: Client, function_id: str, own_id: str, whole: bytes) -> None:
    """Send a part of the first chunk, and go."""
    request = chunk_request(client, function_id, own_id, whole, 0)
    body, where = request.read(), request.url
    lines = [
        f"POST {where.raw_path.decode()} HTTP/1.1",
        *(f"{name}: {value}" for name, value in request.headers.items()),
    ]
    with socket.create_connection((where.host, where.port or 80), 30) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode() + body[: random.randrange(len(body))])

"""Replies of the Open Runtimes API, and lines of its log stream."""

import asyncio
import json

import pytest

from annals.domain.ports import Outcome
from annals.executor.open_runtimes.errors import ApiError
from annals.executor.open_runtimes.routes import executed, wants_json
from annals.executor.open_runtimes.runtime import RuntimeOutput


def reply(outcome: Outcome, **headers: str) -> bytes:
    return executed({"accept": "application/json", **headers}, outcome, 1.5, 0.25).content


COOKIES = Outcome(
    status_code=200, headers=[("set-cookie", "a=1"), ("x", "y"), ("set-cookie", "b=2")], body="é".encode()
)


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("", "b=2"),
        ("0.10.0", "b=2"),
        ("0.9", "b=2"),
        ("0.11.0", ["a=1", "b=2"]),
        ("0.11", ["a=1", "b=2"]),
        ("1", ["a=1", "b=2"]),
        ("nonsense", "b=2"),
        ("9.9.9.9", "b=2"),
        ("١.٢", "b=2"),
        ("99999999999", "b=2"),
    ],
)
def test_repeated_headers_follow_the_format(form: str, expected: object) -> None:
    found = json.loads(reply(COOKIES, **{"x-executor-response-format": form}))

    assert found["headers"] == {"set-cookie": expected, "x": "y"}
    assert (found["body"], found["startTime"], found["duration"]) == ("é", 1.5, 0.25)


def test_bytes_that_json_cannot_carry_are_refused() -> None:
    with pytest.raises(ApiError) as refused:
        reply(Outcome(status_code=200, body=b"\xff"))

    assert (refused.value.code, refused.value.kind) == (400, "execution_bad_json")


def test_reason_of_a_run_appears_once_in_the_reply() -> None:
    timed_out = Outcome(status_code=500, reason="timeout", message="Execution timed out.", errors="first\n")
    repeated_message = Outcome(
        status_code=500, reason="timeout", message="Execution timed out.", errors="Execution timed out.\n"
    )

    assert json.loads(reply(timed_out))["errors"] == "first\nExecution timed out."
    assert json.loads(reply(repeated_message))["errors"] == "Execution timed out.\n"


def test_only_types_of_json_ask_for_it() -> None:
    assert all(map(wants_json, ("application/json", "text/plain,application/json;q=0.1", "application/*")))
    assert not any(map(wants_json, ("", "*/*", "text/*", "application/xml", "multipart/form-data")))


async def test_log_stream_sends_escaped_lines_until_the_output_ends() -> None:
    record = RuntimeOutput()
    heard: list[str] = []

    async def read() -> None:
        heard.extend([piece.decode() async for piece in record.lines(10)])

    reading = asyncio.create_task(read())
    await record.write("one\ntwo\n")
    await asyncio.sleep(0)
    await record.write("")
    await record.write("three")
    record.end()
    await reading

    lines = "".join(heard).splitlines()
    assert [line.partition(" ")[2] for line in lines] == ["one\\ntwo\\n", "three"]
    assert all(line.partition(" ")[0].endswith("+00:00") for line in lines)
    assert record.text() == "one\ntwo\nthree"


async def test_log_stream_ends_after_its_own_timeout() -> None:
    record = RuntimeOutput()
    await record.write("one")

    assert [piece async for piece in record.lines(0.05)] != []

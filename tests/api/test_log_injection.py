"""Input of users and output of code forge no line of the instance's log, and send no codes to a terminal."""

import json
import re
from collections.abc import Iterator
from urllib.parse import quote

import pytest

from tests.api.wire import Wire
from tests.client import Client
from tests.instance import AnnalsInstance, eventually, instance_of_its_own

FORGED = '\n{"time":"2026-01-01T00:00:00.000000Z","role":"api1","level":"info","event":"forged"}\n'
FORGED_LINE = "\r\n12:00:00.000 api1      forged  \x1b[2K\x1b[31mred\x07\x00\x7f\x9b31m\u2028\x85\u202e"
HOSTILE = FORGED + FORGED_LINE
CODE = f"""
module.exports = async ({{ req, res, log, error }}) => {{
  const text = {json.dumps(HOSTILE)}
  log(text)
  error(text)
  console.log(text)
  process.stderr.write(text)
  if (req.path === '/fails') throw new Error(text)
  return res.text('said')
}}
"""
LINE = re.compile(r"\d\d:\d\d:\d\d\.\d{3} [a-z]+\d* +\S.*|    \S.*")
"""A line of the console log with time, process and event, or a line of a trace."""


@pytest.fixture(scope="module", params=["console", "json"])
def instance(request: pytest.FixtureRequest) -> Iterator[AnnalsInstance]:
    if request.param == "console":
        yield request.getfixturevalue("annals_instance")
        return
    with instance_of_its_own(ANNALS_LOG_FORMAT="json") as running:
        yield running


@pytest.mark.timeout(300)
def test_hostile_input_and_output_forge_no_log_line(instance: AnnalsInstance) -> None:
    client, wire = Client(instance.endpoint, instance.headers), Wire(instance.endpoint)
    function = client.function("speaks-in-lines", CODE)
    begin = instance.log.stat().st_size

    for path in ("/", "/fails"):
        assert client.execute(function, path=path)["status"] in {"completed", "failed"}
    client.http.put(f"/functions/{function}", json={"name": HOSTILE, "runtime": "node-22"})
    client.http.post("/functions", json={"functionId": HOSTILE, "name": HOSTILE, "runtime": HOSTILE})
    client.http.post(f"/functions/{function}/executions", json={"path": f"/{HOSTILE}", "async": True})
    for name in (b"User-Agent", b"X-Request-Id", b"Origin", b"X-Appwrite-Response-Format"):
        for value in (b"a\x9bforged", b"a\x1b[31mforged", b"a\rforged", b"a\0forged"):
            wire.say(
                b"GET /v1/functions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n%b: %b\r\n\r\n" % (name, value)
            )

    def hostile_log() -> bytes:
        """Return the log once it contains a hostile path: the log samples requests, so some have no line."""
        client.http.get(f"/functions/{quote(HOSTILE, safe='')}")
        written = instance.log.read_bytes()[begin:]
        return written if b"GET" in written and b"forged" in written else b""

    text = eventually(hostile_log, 90).decode()
    lines = text.rpartition("\n")[0].split("\n")
    assert [line for line in lines if not line.isprintable()] == []
    if text.startswith("{"):
        entries = [json.loads(line) for line in lines]
        assert all({"time", "role", "level", "event"} <= entry.keys() for entry in entries)
        assert "forged" not in {entry["event"] for entry in entries}
    else:
        assert [line for line in lines if not LINE.fullmatch(line)] == []
        assert [line for line in lines if line[23:].startswith("forged")] == []

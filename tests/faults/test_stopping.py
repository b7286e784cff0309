"""Calls in flight when an instance stops."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.client import Client
from tests.faults import invariants
from tests.instance import AnnalsInstance, eventually

pytestmark = pytest.mark.timeout(400)
CODE = """
module.exports = async ({ req, res }) => {
  await new Promise(done => setTimeout(done, Number(req.query.ms)))
  return res.text('slept')
}
"""


def test_call_in_flight_at_a_stop_is_answered_and_stored(folder: Path) -> None:
    running = AnnalsInstance.start(folder / "data", "--driver", "sandbox")
    client = Client(running.endpoint, running.headers)
    client.function("sleeper", CODE)
    client.execute("sleeper", path="/?ms=1")

    with ThreadPoolExecutor(1) as pool:
        calling = pool.submit(client.execute, "sleeper", path="/?ms=1500")
        eventually(lambda: client.call("GET", "/functions/sleeper/executions")["total"] == 2)
        running.stop()
        answered = calling.result()

    assert answered["status"] == "completed"
    assert answered["responseBody"] == "slept"
    again = AnnalsInstance.start(folder / "data", "--driver", "sandbox")
    try:
        stored = Client(again.endpoint, again.headers).execution("sleeper", answered["$id"])
        invariants.check_all(again)
    finally:
        again.stop()
    assert stored["status"] == "completed"
    assert stored["duration"] == answered["duration"]

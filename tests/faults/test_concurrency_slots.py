"""A function's concurrency limit with two workers and two executors, through a burst of calls and a kill."""

import json
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from tests.client import Client
from tests.faults import canaries, invariants
from tests.faults.invariants import History
from tests.faults.stage import OwnExecutor
from tests.instance import AnnalsInstance, eventually

pytestmark = pytest.mark.timeout(300)
MOST = 3
CODE = """
module.exports = async ({ req, res }) => {
  await new Promise((r) => setTimeout(r, 150));
  return res.text('done');
};
"""


@pytest.fixture
def instance(folder: Path) -> Iterator[AnnalsInstance]:
    """Run an instance with two workers and two executors."""
    with ExitStack() as stack:
        blobs, executors = f"file://{folder / 'blobs'}", []
        for name in ("one", "two"):
            (folder / name).mkdir()
            executors.append(OwnExecutor(folder / name, blobs, folder / f"{name}.log"))
            executors[-1].start()
            stack.callback(executors[-1].stop)
        instance = AnnalsInstance.start(
            folder / "data",
            environment={
                "ANNALS_EXECUTOR_URLS": ",".join(f"unix:{executor.socket}" for executor in executors),
                "ANNALS_BLOBS_URL": blobs,
                "ANNALS_LEASE_S": "2",
                "ANNALS_WORKERS": "2",
            },
        )
        instance.executors = {f"unix:{executor.socket}": executor.data for executor in executors}
        stack.callback(instance.stop)
        canaries.plant(instance)
        yield instance
        invariants.check_all(instance)
        canaries.check_unreadable(instance, folder)


def test_concurrency_limit_holds_across_hosts_when_a_worker_is_killed(instance: AnnalsInstance, client: Client) -> None:
    client.function("bounded", CODE, timeout=20)
    client.call("PUT", "/functions/bounded/policy", json={"scaling": {"concurrency": MOST}})

    def call(number: int) -> httpx.Response:
        sent = {"async": number % 3 > 0}
        return client.http.post("/functions/bounded/executions", json=sent)

    def counts() -> dict[str, int]:
        totals = {}
        for status in ("waiting", "processing", "completed", "failed"):
            query = json.dumps({"method": "equal", "attribute": "status", "values": [status]})
            page = {"queries[]": [query, json.dumps({"method": "limit", "values": [1]})]}
            totals[status] = client.call("GET", "/functions/bounded/executions", params=page)["total"]
        return totals

    with ThreadPoolExecutor(16) as pool:
        calls = [pool.submit(call, number) for number in range(90)]
        eventually(lambda: counts()["completed"] >= 10, 60)
        os.kill(instance.pid_of("worker1"), signal.SIGKILL)
        answers = [one.result() for one in calls]

    eventually(lambda: counts()["waiting"] + counts()["processing"] == 0, 120, explain=counts)
    assert {answer.status_code for answer in answers} <= {201, 202, 429}
    history = History(instance)
    assert history.wrong == []
    assert list(history.caps.most_at_once.values()) == [MOST]

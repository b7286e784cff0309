"""Far more callers than the instance can serve: the rest is refused, accepted executions end, and service recovers."""

import asyncio
import json
import re
import time
from collections import Counter
from urllib.parse import urlsplit

import httpx
import pytest

from tests.client import Client
from tests.instance import AnnalsInstance, eventually

CALLERS, SECONDS = 1500, 10
RECOVERED_SECONDS = 60
CODE = """
module.exports = async ({ req, res }) => {
  await new Promise(done => setTimeout(done, 300))
  return res.text('served')
}
"""
DRIFT = re.compile(r'^annals_conservation_drift\{of="executions"\} (\d+)$', re.MULTILINE)


class Crowd:
    """Callers that send the next call after each answer; every third call is asynchronous."""

    def __init__(self, instance: AnnalsInstance, callers: int = CALLERS) -> None:
        self._callers = callers
        self.statuses: Counter[int] = Counter()
        self.accepted: list[str] = []
        self.wrong: list[str] = []
        self._endpoint = urlsplit(instance.endpoint)
        self._headers = "".join(f"{name}: {value}\r\n" for name, value in instance.headers.items())

    async def call(self, seconds: float) -> None:
        ends = time.monotonic() + seconds
        await asyncio.gather(*(self._call(number, ends) for number in range(self._callers)))

    async def _call(self, number: int, ends: float) -> None:
        while time.monotonic() < ends:
            number += 1
            status, retry, body = await self._execute(asynchronous=number % 3 == 0)
            self.statuses[status] += 1
            if status == 202:
                self.accepted.append(json.loads(body)["$id"])
            elif status in {429, 503}:
                if not retry:
                    self.wrong.append(f"{status} without Retry-After: {body[:200]!r}")
                await asyncio.sleep(1)
            elif status != 201 or json.loads(body)["status"] != "completed":
                self.wrong.append(f"{status}: {body[:300]!r}")

    async def _execute(self, *, asynchronous: bool) -> tuple[int, str, bytes]:
        body = json.dumps({"async": asynchronous})
        head = (
            f"POST {self._endpoint.path}/functions/overloaded/executions HTTP/1.1\r\nHost: {self._endpoint.netloc}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n{self._headers}\r\n"
        )
        reads, writes = await asyncio.open_connection(self._endpoint.hostname, self._endpoint.port)
        try:
            writes.write((head + body).encode())
            answer = await reads.read()
        finally:
            writes.close()
        begin, _, rest = answer.partition(b"\r\n\r\n")
        lines = begin.decode("latin-1").split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines[1:] if ": " in line)
        return int(lines[0].split()[1]), headers.get("retry-after", ""), rest


@pytest.mark.timeout(500)
def test_overload_is_refused_with_retry_after_and_accepted_executions_end(annals_instance: AnnalsInstance) -> None:
    client = Client(annals_instance.endpoint, annals_instance.headers)
    client.function("overloaded", CODE, timeout=30)
    client.execute("overloaded")
    crowd = Crowd(annals_instance)

    asyncio.run(crowd.call(SECONDS))

    assert crowd.wrong == []
    assert crowd.statuses[503] + crowd.statuses[429] > 0, crowd.statuses
    assert crowd.statuses[201] > 0, crowd.statuses
    path = "/functions/overloaded/executions"
    eventually(lambda: client.http.post(path, json={}).status_code == 201, RECOVERED_SECONDS)
    for one in crowd.accepted:
        eventually(lambda one=one: client.execution("overloaded", one)["status"] == "completed", 150)  # type: ignore[misc]
    metrics = httpx.get(annals_instance.endpoint.removesuffix("/v1") + "/metrics", timeout=60)
    assert DRIFT.findall(metrics.text) == ["0"]

"""A fresh instance for the benchmark, with a new data folder, a free port and no quotas."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx


class Instance:
    """A running `annals up`, and the calls that the figures need."""

    def __init__(self, process: "subprocess.Popen[str]", ready: dict[str, Any], start_seconds: float) -> None:
        self.process, self.start_seconds = process, start_seconds
        self.endpoint, self.project, self.key = ready["endpoint"], ready["project"], ready["key"]
        self.data, self.database_url = ready["data"], ready["database_url"]
        self.port = int(self.endpoint.split(":")[2].split("/")[0])
        self.headers = {"x-appwrite-project": self.project, "x-appwrite-key": self.key}
        self.http = httpx.Client(base_url=self.endpoint, headers=self.headers, timeout=120)

    def call(self, method: str, path: str, **sent: Any) -> Any:
        """Return the answer's JSON; raise for any status but 2xx."""
        answer = self.http.request(method, path, **sent)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def deploy(self, function_id: str, archive: bytes, commands: str = "") -> tuple[str, float]:
        """Upload code, wait until it is ready, and return the deployment's id and the seconds that this took."""
        started = time.perf_counter()
        made = self.call(
            "POST",
            f"/functions/{function_id}/deployments",
            files={"code": ("code.tar.gz", archive, "application/gzip")},
            data={"activate": "true", "commands": commands},
        )
        while time.perf_counter() - started < 120:
            now = self.call("GET", f"/functions/{function_id}/deployments/{made['$id']}")
            if now["status"] == "ready":
                return made["$id"], time.perf_counter() - started
            if now["status"] in {"failed", "canceled"}:
                raise RuntimeError(now["buildLogs"][-2000:])
            time.sleep(0.005)
        raise TimeoutError(f"the build of {function_id} did not end in 120 s")

    def function(self, function_id: str, runtime: str, entrypoint: str) -> None:
        self.call(
            "POST",
            "/functions",
            json={"functionId": function_id, "name": function_id, "runtime": runtime, "entrypoint": entrypoint},
        )


@contextmanager
def running(
    driver: str = "sandbox", data: Path | None = None, settings: Mapping[str, str] | None = None
) -> Iterator[Instance]:
    """Run an instance; a temporary data folder is removed afterwards."""
    folder = tempfile.TemporaryDirectory(prefix="annals-bench-") if data is None else None
    path = folder.name if folder else str(data)
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "annals", "up", "--json", "--port", "0", "--data", path, "--driver", driver],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={
            **os.environ,
            "ANNALS_FUNCTIONS_CREATE_QUOTA": "0",
            "ANNALS_EXECUTOR_LISTEN": f"unix:{path}/executor.sock",
            **(settings or {}),
        },
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise RuntimeError("annals up ended before it was ready; run it by hand to see why")
        yield Instance(process, json.loads(line), time.perf_counter() - started)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)
        if folder:
            folder.cleanup()

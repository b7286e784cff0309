"""The commands of the documentation page: the executor starts, and the script builds, runs, reads and removes."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
import pytest

from tests.architecture.pages import blocks
from tests.contract.drivers.hosts import PYTHON, RUNTIMES
from tests.instance import plain


def started(process: "subprocess.Popen[bytes]", address: str) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        assert process.poll() is None, "the executor has ended"
        try:
            if httpx.get(f"http://{address}/v1/health").text == "OK":
                return
        except httpx.TransportError:
            time.sleep(0.1)
    pytest.fail("the executor does not listen")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_commands_of_the_page_start_an_executor_and_call_it() -> None:
    start, script = (block.text for block in blocks("docs/facade.md"))
    python = f"openruntimes/python:v5-{PYTHON.partition('-')[2]}"
    script = script.replace("openruntimes/python:v5-3.13", python)
    address = f"127.0.0.1:{free_port()}"
    with TemporaryDirectory(prefix="fd-", dir="/tmp") as name:
        folder = Path(name)
        (folder / "data").mkdir()
        (folder / "data" / "runtimes").symlink_to(RUNTIMES / "runtimes")
        environment = plain({"ANNALS_DATA": str(folder / "data"), "ANNALS_DRIVER": "sandbox", "ANNALS_RESERVE": "*=0"})
        environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), environment["PATH"]])
        commands = ["bash", "-euc", start.replace("127.0.0.1:9900", address)]
        with subprocess.Popen(
            commands, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        ) as process:
            try:
                started(process, address)
                ran = subprocess.run(
                    [sys.executable, "-"],
                    input=script,
                    env={
                        **environment,
                        "ANNALS_FACADE_LISTEN": address,
                        "ANNALS_FACADE_SECRET_FILE": str(folder / "facade-secret"),
                        "ANNALS_FACADE_STORAGE_URL": str(folder / "storage"),
                    },
                    capture_output=True,
                    text=True,
                    timeout=200,
                    check=False,
                )
            finally:
                process.send_signal(signal.SIGTERM)
                logged, _ = process.communicate(timeout=60)
        secret = (folder / "facade-secret").read_text().strip()

    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.count("Build finished.") == 2
    assert 'openruntimes/node:v5-22 200 {"path":"/hello"} called' in ran.stdout
    assert python + ' 200 {"path":"/hello"} called' in ran.stdout
    assert "src/function/index.js" in ran.stdout
    assert ran.stdout.rstrip().endswith("left: []")
    assert b"executor.open_runtimes" in logged
    assert secret.encode() not in logged

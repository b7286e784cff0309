"""The floor of warm executions: calls to the function servers without an API, executor or sandbox."""

import asyncio
import os
import signal
import socket
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import annals
from annals.executor.toolchains import Toolchain, Toolchains
from bench.archives import HELLO_NODE, HELLO_PYTHON, RUNTIMES
from bench.client import Load, always, load, request
from bench.floors import free_port

SERVERS = {"node": "src/server.cjs", "python": "src/server.py"}
HELLOS = {"node": HELLO_NODE, "python": HELLO_PYTHON}
CACHE = Path(tempfile.gettempdir()) / f"annals-bench-runtimes-{os.getuid()}"
HEADERS = {
    "content-type": "application/json",
    "user-agent": "bench",
    "x-appwrite-execution-id": "a" * 20,
    "x-appwrite-trigger": "http",
    "x-appwrite-key": "k" * 200,
    "x-open-runtimes-timeout": "15",
    "x-open-runtimes-logging": "enabled",
}


class Direct(NamedTuple):
    """Answers a second of hello with 1 and with 32 connections, with logs; `cpu_ms` is the server's time per answer."""

    one: float
    many: float
    p50_ms: float
    cpu_ms: float


def direct_rate(language: str, seconds: float = 2.0) -> Direct:
    """Return the median of 3 runs against a new server."""
    with serving(language) as (port, process):
        message = request("POST", "/", HEADERS, b"{}")

        def run(callers: int) -> Load:
            return load(port, always(message), callers=callers, seconds=seconds)

        alone = _middle(lambda: run(1))
        before = _cpu_seconds(process)
        counted = [run(32) for _ in range(3)]
        spent = _cpu_seconds(process) - before
        warmed = 1.25  # a run also answers during its warm-up, a quarter as long
        cpu_ms = spent * 1e3 / (sum(load.answers for load in counted) * warmed)
        return Direct(alone.rate, statistics.median(load.rate for load in counted), alone.p50, cpu_ms)


def _middle(measure: Callable[[], Load]) -> Load:
    return sorted((measure() for _ in range(3)), key=lambda load: load.rate)[1]


def _cpu_seconds(process: subprocess.Popen[bytes]) -> float:
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def serving(language: str) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """Run a function server on a local port, and discard its logs."""
    runtime, entrypoint, _ = RUNTIMES[language]
    toolchain = asyncio.run(Toolchains(CACHE).get(runtime))
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="fs-") as folder, _discarded_logs(Path(folder, "logs.sock")) as logs:
        Path(folder, entrypoint).write_text(HELLOS[language])
        environment = {
            "PATH": os.environ["PATH"],
            "OPEN_RUNTIMES_ENTRYPOINT": entrypoint,
            "ANNALS_CODE": folder,
            "ANNALS_LISTEN": f"tcp:127.0.0.1:{port}",
            "ANNALS_LOGS": f"unix:{logs}",
        }
        server = Path(annals.__file__).parent / "runtimes" / language / SERVERS[language]
        process = subprocess.Popen([_binary(toolchain), str(server)], env=environment, stdout=subprocess.DEVNULL)
        try:
            _wait_for(port)
            yield port, process
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(10)


def _binary(toolchain: Toolchain) -> str:
    name = Path(toolchain.binary).name
    return str(toolchain.prefix / "bin" / name) if toolchain.prefix else toolchain.binary


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise TimeoutError(f"nothing listens on port {port}")


@contextmanager
def _discarded_logs(path: Path) -> Iterator[Path]:
    """Listen on a log socket, and discard everything."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen(1)

    def read() -> None:
        peer, _ = listener.accept()
        with peer:
            while peer.recv(1 << 16):
                pass

    threading.Thread(target=read, daemon=True).start()
    try:
        yield path
    finally:
        listener.close()


def main() -> None:
    for language in RUNTIMES:
        direct = direct_rate(language)
        print(
            f"{language:8} 1 connection {direct.one:8.0f}/s (p50 {direct.p50_ms:.3f} ms)"
            f"   32 connections {direct.many:8.0f}/s   {direct.cpu_ms:.3f} ms of CPU per answer"
        )


if __name__ == "__main__":
    main()

"""A function server as a plain child process, and a client that sends exact bytes."""

import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import annals
from tests import node

RUNTIMES = Path(annals.__file__).parent / "runtimes"
FUNCTIONS = Path(__file__).parent / "functions"
DEADLINE_SECONDS = 60.0
SERVERS = {"python": "src/server.py", "node": "src/server.cjs"}
ENTRYPOINTS = {"python": "main.py", "node": "index.js"}
EXTENSIONS = {"python": ".py", "node": ".js"}


@dataclass
class Answer:
    """One response: header names as sent, repeats kept."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name]

    def one(self, name: str) -> str:
        [value] = self.all(name)
        return value

    @property
    def log_id(self) -> str:
        return self.one("x-open-runtimes-log-id")


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=DEADLINE_SECONDS)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(DEADLINE_SECONDS)
        self.sock.connect(self.path)


@dataclass
class Instance:
    """A running function server with folders of its own."""

    language: str
    code: Path
    interpreter: str
    environment: dict[str, str] = field(default_factory=dict)
    logs: str = "files"
    secret: str = ""
    command: list[str] | None = None

    def __post_init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="fs-"))
        self.logs_dir = self.folder / "logs"
        self.telemetry = self.folder / "telemetry"
        self.socket = str(self.folder / "http.sock")
        for folder in (self.logs_dir, self.telemetry):
            folder.mkdir()
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONDONTWRITEBYTECODE": "1",
            "OPEN_RUNTIMES_ENTRYPOINT": ENTRYPOINTS[self.language],
            "OPEN_RUNTIMES_SECRET": self.secret,
            "ANNALS_CODE": str(self.code),
            "ANNALS_LISTEN": "unix:" + self.socket,
            "ANNALS_LOGS": self.logs,
            "ANNALS_LOGS_DIR": str(self.logs_dir),
            "ANNALS_TELEMETRY": str(self.telemetry),
            **self.environment,
        }
        server = RUNTIMES / self.language / SERVERS[self.language]
        self.output = (self.folder / "output.txt").open("wb")
        self.process = subprocess.Popen(
            self.command or [self.interpreter, str(server)],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=self.output,
            stderr=subprocess.STDOUT,
            cwd=server.parent,
            start_new_session=True,
        )
        self.wait_for(lambda: "HTTP server successfully started!" in self.said())

    def said(self) -> str:
        return (self.folder / "output.txt").read_text()

    def wait_for(self, condition: Any, awaited: str = "the server to start") -> None:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not condition():
            if time.monotonic() > deadline or (self.process.poll() is not None and awaited.startswith("the server")):
                self.stop(keep=True)
                raise AssertionError(f"waited in vain for {awaited}; it said: {self.said()}")
            time.sleep(0.01)

    def stop(self, *, keep: bool = False) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.output.close()
        if not keep:
            shutil.rmtree(self.folder, ignore_errors=True)

    def call(
        self,
        action: str = "text",
        *,
        path: str = "/",
        method: str = "GET",
        headers: dict[str, str] | list[tuple[str, str]] | None = None,
        body: bytes = b"",
        secret: str | None = None,
    ) -> Answer:
        """Send one request on a new connection, with the instance's secret and the fixture function's action."""
        pairs = list(headers.items() if isinstance(headers, dict) else headers or [])
        names = {name.lower() for name, _ in pairs}
        given = self.secret if secret is None else secret
        pairs += [("x-open-runtimes-secret", given)] if given and "x-open-runtimes-secret" not in names else []
        pairs += [("x-action", action)] if "x-action" not in names else []
        pairs += [("host", "localhost:3000")] if "host" not in names else []
        if body or method in {"POST", "PUT", "PATCH"}:
            pairs += [("content-length", str(len(body)))]
        connection = UnixConnection(self.socket)
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in pairs:
                connection.putheader(name, value.encode())
            connection.endheaders(body or None)
            response = connection.getresponse()
            return Answer(response.status, response.getheaders(), response.read())
        finally:
            connection.close()

    def logs_of(self, answer: Answer) -> str:
        return self.read(f"{answer.log_id}_logs.log")

    def errors_of(self, answer: Answer) -> str:
        return self.read(f"{answer.log_id}_errors.log")

    def read(self, name: str) -> str:
        return (self.logs_dir / name).read_text()

    def raw(self) -> socket.socket:
        """A bare connection, for requests that no client library would send."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(DEADLINE_SECONDS)
        connection.connect(self.socket)
        return connection


class LogReader:
    """The executor's side of the log channel: collects frames as (kind, log id, text)."""

    def __init__(self) -> None:
        self.folder = tempfile.mkdtemp(prefix="fl-")
        self.path = os.path.join(self.folder, "logs.sock")
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(self.path)
        self.listener.listen(4)
        self.frames: list[tuple[int, str, str]] = []
        self.peers: list[socket.socket] = []
        self.changed = threading.Condition()
        self.accepting = threading.Thread(target=self.accept, daemon=True)
        self.accepting.start()

    def accept(self) -> None:
        try:
            while True:
                peer, _ = self.listener.accept()
                self.peers.append(peer)
                threading.Thread(target=self.read, args=(peer,), daemon=True).start()
        except OSError:
            return

    def read(self, peer: socket.socket) -> None:
        with peer.makefile("rb") as stream:
            while len(prefix := stream.read(4)) == 4:
                frame = stream.read(int.from_bytes(prefix, "big"))
                end = 2 + frame[1]
                with self.changed:
                    self.frames.append((frame[0], frame[2:end].decode(), frame[end:].decode()))
                    self.changed.notify_all()

    def text(self, kind: int, log_id: str) -> str:
        return "".join(text for got, name, text in list(self.frames) if got == kind and name == log_id)

    def ended(self, log_id: str) -> bool:
        return (2, log_id, "") in self.frames

    def wait_until(self, condition: Any, seconds: float = DEADLINE_SECONDS) -> bool:
        with self.changed:
            return bool(self.changed.wait_for(condition, seconds))

    def close(self) -> None:
        with suppress(OSError):  # a test may have closed it
            self.listener.shutdown(socket.SHUT_RDWR)
        self.accepting.join()  # otherwise it might use the descriptor's next owner
        self.listener.close()
        for peer in self.peers:
            peer.shutdown(socket.SHUT_RDWR)
        shutil.rmtree(self.folder, ignore_errors=True)


def interpreter(language: str) -> str:
    """The interpreter that most checks run with; the version matrix runs the others."""
    if language == "python":
        return sys.executable
    return str(node.bin_folder() / "node")

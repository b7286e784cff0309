"""`annals demo`: steps with two functions on a fresh instance or on one that runs, and their events in the log.

The steps go over the HTTP API. One file because the command, the client and the steps make one demonstration.
"""

import asyncio
import contextlib
import io
import itertools
import json
import os
import socket
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import click
import httpx
from rich.console import Console
from rich.text import Text

from annals.cli.event_log import with_log
from annals.cli.events import as_text
from annals.cli.executor_client import open_executor
from annals.cli.options import answer, chosen, instance_options, of_instance
from annals.settings import Settings
from annals.store.log.log import EventLog
from annals.supervisor.services import read_key

BATCH = 1000

FILES = Path(__file__).parents[1] / "runtimes" / "demo"
BUILD_SECONDS = 300
RUN_SECONDS = 60


class DemoFunction(NamedTuple):
    """One of the two functions: where its code lies and how it is built and called."""

    function_id: str
    runtime: str
    entrypoint: str
    commands: str
    path: str
    folder: str


DEMO_FUNCTIONS = (
    DemoFunction("durations", "node-22", "index.js", "npm ci", "/?ms=5400000", "node"),
    DemoFunction(
        "sizes", "", "main.py", "pip install --require-hashes -r requirements.txt", "/?bytes=123456789", "python"
    ),
)
"""The demo chooses the newest Python version that the instance serves."""


class DemoFailed(Exception):
    """A step did not end as it should; the message says which and why."""


class DemoClient:
    """Calls the API and tells what happened; `say` prints a line, `quote` a piece of a running build's log."""

    def __init__(
        self, endpoint: str, project: str, key: str, say: Callable[[str], None], quote: Callable[[str], None]
    ) -> None:
        headers = {"x-appwrite-project": project, "x-appwrite-key": key, "x-appwrite-response-format": "1.8.0"}
        self.http = httpx.Client(base_url=endpoint, headers=headers, timeout=60)
        self.say, self.quote = say, quote

    def call(self, method: str, path: str, **sent: Any) -> Any:
        answer = self.http.request(method, path, **sent)
        if answer.is_error:
            raise DemoFailed(f"{method} {path}: {answer.status_code} {answer.json().get('message', answer.text)}")
        return answer.json() if answer.content else None

    def unused(self, function_id: str) -> str:
        """The id, or the first with a number behind it that no function has."""
        numbered = (f"{function_id}-{number}" for number in itertools.count(2))
        return next(name for name in itertools.chain((function_id,), numbered) if not self._exists(name))

    def _exists(self, function_id: str) -> bool:
        return self.http.get(f"/functions/{function_id}").status_code != httpx.codes.NOT_FOUND

    def create(self, demo_function: DemoFunction) -> None:
        self.say(f"create function [bold]{demo_function.function_id}[/] ({demo_function.runtime})")
        body = {
            "functionId": demo_function.function_id,
            "name": demo_function.function_id.title(),
            "runtime": demo_function.runtime,
            "entrypoint": demo_function.entrypoint,
            "commands": demo_function.commands,
            "execute": ["any"],
        }
        self.call("POST", "/functions", json=body)

    def deploy(self, demo_function: DemoFunction, note: str = "") -> str:
        """Upload, follow the build's log while it runs, and return the deployment that is active then."""
        upload = packed(FILES / demo_function.folder)
        self.say(f"upload {len(upload)} bytes to [bold]{demo_function.function_id}[/] {note}and follow the build")
        made = self.call(
            "POST",
            f"/functions/{demo_function.function_id}/deployments",
            files={"code": ("code.tar.gz", upload, "application/gzip")},
            data={"activate": "true"},
        )
        deployment = self._follow(demo_function.function_id, made["$id"])
        size, seconds = deployment["buildSize"], deployment["buildDuration"]
        self.say(f"  ready: [bold]{made['$id']}[/], {size} bytes, {seconds} s, active")
        return str(made["$id"])

    def _follow(self, function_id: str, deployment_id: str) -> dict[str, Any]:
        shown, deadline = 0, time.monotonic() + BUILD_SECONDS
        while time.monotonic() < deadline:
            now: dict[str, Any] = self.call("GET", f"/functions/{function_id}/deployments/{deployment_id}")
            logs = now["buildLogs"]
            if len(logs) > shown:
                self.quote(logs[shown:])
                shown = len(logs)
            if now["status"] == "ready":
                return now
            if now["status"] in {"failed", "canceled"}:
                raise DemoFailed(f"the build of {function_id} {now['status']}; its log is above")
            time.sleep(0.1)
        raise DemoFailed(f"the build of {function_id} did not end in {BUILD_SECONDS} s")

    def run(self, demo_function: DemoFunction) -> str:
        """Call it, tell what it answered, and return the execution's id."""
        execution = self.call(
            "POST",
            f"/functions/{demo_function.function_id}/executions",
            json={"path": demo_function.path, "method": "GET"},
        )
        if execution["status"] != "completed":
            raise DemoFailed(f"the call of {demo_function.function_id} {execution['status']}: {execution['errors']}")
        milliseconds = execution["duration"] * 1000
        self.say(
            f"call {demo_function.function_id}{demo_function.path}:"
            f" {execution['responseBody']} in {milliseconds:.1f} ms"
        )
        return str(execution["$id"])

    def run_later(self, demo_function: DemoFunction) -> None:
        execution = self.call(
            "POST",
            f"/functions/{demo_function.function_id}/executions",
            json={"path": demo_function.path, "async": True},
        )
        self.say(
            f"call {demo_function.function_id} asynchronously: accepted as {execution['$id']}, {execution['status']}"
        )
        deadline = time.monotonic() + RUN_SECONDS
        while execution["status"] not in {"completed", "failed"} and time.monotonic() < deadline:
            time.sleep(0.05)
            execution = self.call("GET", f"/functions/{demo_function.function_id}/executions/{execution['$id']}")
        if execution["status"] != "completed":
            raise DemoFailed(f"the asynchronous call is {execution['status']}: {execution['errors']}")
        self.say(f"  later: {execution['status']}, it logged {json.dumps(execution['logs'].strip())}")

    def set_variable(self, demo_function: DemoFunction, key: str, value: str) -> None:
        self.say(f"set the secret variable {key} of {demo_function.function_id}; the next call has it")
        self.call(
            "POST",
            f"/functions/{demo_function.function_id}/variables",
            json={"key": key, "value": value, "secret": True},
        )

    def roll_back(self, demo_function: DemoFunction, deployment_id: str) -> None:
        self.say(f"roll {demo_function.function_id} back to {deployment_id}")
        self.call("PATCH", f"/functions/{demo_function.function_id}/deployment", json={"deploymentId": deployment_id})

    def look_back(self, demo_function: DemoFunction, execution_id: str) -> None:
        path = f"/functions/{demo_function.function_id}/executions/{execution_id}/configuration"
        ran_with = self.call("GET", path)
        fields = sorted({change["field"].split(".")[0] for change in ran_with["changes"]})
        self.say(f"the first call ran with {len(ran_with['variables'])} variables; changed since: {', '.join(fields)}")


def tell(demo_client: DemoClient, python_runtime: str) -> None:
    """The whole story, in order. Raises DemoFailed."""
    demo_functions = [
        demo_function if demo_function.runtime else demo_function._replace(runtime=python_runtime)
        for demo_function in DEMO_FUNCTIONS
    ]
    node, python = (
        demo_function._replace(function_id=demo_client.unused(demo_function.function_id))
        for demo_function in demo_functions
    )
    demo_client.create(node)
    first_deployment = demo_client.deploy(node)
    first_call = demo_client.run(node)
    demo_client.run_later(node)
    demo_client.create(python)
    demo_client.deploy(python)
    demo_client.run(python)
    demo_client.run_later(python)
    demo_client.set_variable(node, "GREETING", "bonjour")
    demo_client.run(node)
    demo_client.deploy(node, "once more ")
    demo_client.roll_back(node, first_deployment)
    demo_client.run(node)
    demo_client.look_back(node, first_call)


def packed(folder: Path) -> bytes:
    """The folder's files as a gzip tar, the same bytes each time."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for file in sorted(folder.iterdir()):
            if file.is_file():
                member = tarfile.TarInfo(file.name)
                content = file.read_bytes()
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


@click.command()
@instance_options
def demo(data: Path | None, as_json: bool) -> None:
    """Create, build, run and roll back two functions, then show the events of all that.

    Without --data it starts an instance of its own and removes it in the end.
    """
    console = Console(stderr=as_json, highlight=False)
    with contextlib.ExitStack() as stack:
        if data is None:
            console.print("start an instance of its own (about 15 s)")
            data = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="annals-demo-")))
            stack.enter_context(_instance(data, lambda line: console.print(f"  {line}", style="dim")))
        settings = of_instance(data)
        key = read_key(settings.folder)
        began = with_log(settings, lambda log: log.reader.position())
        demo_client = DemoClient(
            settings.endpoint,
            key.project,
            key.key,
            say=lambda line: console.print(line, soft_wrap=True),
            quote=lambda piece: console.print(Text.from_ansi(piece), style="dim", end="", soft_wrap=True),
        )
        try:
            tell(demo_client, asyncio.run(_newest_python(settings)))
        except DemoFailed as error:
            raise click.ClickException(str(error)) from None
        trail = with_log(settings, lambda log: _trail(log, began))
        content = {"events": len(trail)}
        answer(content, as_json, lambda: "\nwhat the log says of it:\n\n" + "\n".join(trail))


@contextlib.contextmanager
def _instance(data: Path, say: Callable[[str], None]) -> Iterator[dict[str, Any]]:
    """Run an instance for the length of the block; `say` gets the progress of its start."""
    command = [sys.executable, "-m", "annals", "up", "--json", "--port", "0", "--data", str(data)]
    with _statuses(say) as address:
        environment = {**os.environ, "ANNALS_LOG_LEVEL": "warning", "NOTIFY_SOCKET": address}
        process = subprocess.Popen(
            [*command, "--driver", chosen().driver], stdout=subprocess.PIPE, text=True, env=environment
        )
        line = process.stdout.readline() if process.stdout else ""
    try:
        if not line:
            raise click.ClickException("The instance did not start; its log is above.")
        yield json.loads(line)
    finally:
        process.terminate()
        process.wait(20)


@contextlib.contextmanager
def _statuses(say: Callable[[str], None]) -> Iterator[str]:
    """The address of a socket at which a process tells its status (`sd_notify`), passed on to `say`."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind("")  # an abstract address of the kernel's choice
        address = "@" + listening.getsockname()[1:].decode()

        def pass_on() -> None:
            while text := listening.recv(4096).decode():
                for line in text.splitlines():
                    if line.startswith("STATUS="):
                        say(line.removeprefix("STATUS="))

        thread = threading.Thread(target=pass_on, daemon=True)
        thread.start()
        try:
            yield address
        finally:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ending:
                ending.sendto(b"", listening.getsockname())
            thread.join()


async def _newest_python(settings: Settings) -> str:
    """The newest Python that an executor of the instance serves."""
    async with open_executor(settings) as executor:
        statuses = [status for status in (await executor.status()).values() if not isinstance(status, str)]
    served = {name for status in statuses for name in status.runtimes}
    versions = [name for name in served if name.startswith("python-")]
    if not versions:
        raise click.ClickException("No executor of this instance serves Python. `annals doctor` says why.")
    return max(versions, key=lambda name: [int(part) for part in name.removeprefix("python-").split(".")])


async def _trail(log: EventLog, position: int) -> list[str]:
    lines: list[str] = []
    while batch := await log.reader.after(position, BATCH):
        lines += [as_text(recorded_event) for recorded_event in batch]
        position = batch[-1].position
    return lines

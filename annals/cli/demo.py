"""`annals demo`: the story of two functions, told on a fresh instance or on one that runs, and its trail in the log."""

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.text import Text

from annals.cli.demo_script import DemoClient, DemoFailed, tell
from annals.cli.event_log import with_log
from annals.cli.events import as_text
from annals.cli.options import answer, chosen, data_option, json_option, of_instance
from annals.executor.wire.client import ExecutorClient
from annals.settings import Settings
from annals.store.log.log import EventLog
from annals.supervisor.services import read_key

BATCH = 1000


@click.command()
@data_option
@json_option
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
    client = ExecutorClient(settings.executor_urls)
    served = {name for said in (await client.status()).values() if not isinstance(said, str) for name in said.runtimes}
    await client.close()
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

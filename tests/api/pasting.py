"""A shell into which a test pastes the commands of a page, as a reader does."""

import json
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.architecture.source import ROOT
from tests.instance import AnnalsInstance, plain

ACTIVATED = str(ROOT / ".venv" / "bin")
"""The folder that activating the environment puts on the PATH of a terminal."""

SECONDS = 200
_LINE = "@@@ end of a block @@@"
_CLOSE_ENDS_JOBS = "trap 'kill $(jobs -p) 2> /dev/null || true; wait' EXIT\n"


def terminal(instance: AnnalsInstance, **settings: str) -> dict[str, str]:
    """Return the environment of a terminal beside a running instance, with `annals` on the PATH."""
    environment = plain({"ANNALS_DATA": str(instance.data), "PYTHONPATH": str(ROOT), **settings})
    environment["PATH"] = f"{ACTIVATED}:{environment['PATH']}"
    return environment


def paste(parts: Sequence[str], folder: Path, environment: Mapping[str, str]) -> list[str]:
    """Paste all blocks into one shell and return what each of them printed; a command that fails ends the test.

    When the shell closes it ends the jobs that it started in the background.
    """
    text = _CLOSE_ENDS_JOBS + f"\necho; echo '{_LINE}'\n".join(parts)
    return run(["bash", "-eu"], text, folder, environment).split(f"{_LINE}\n")


def run(command: list[str], text: str, folder: Path, environment: Mapping[str, str]) -> str:
    """Run a program with a text as its input and return what it printed."""
    with subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as running:
        try:
            printed, errors = running.communicate(text, timeout=SECONDS)
        except subprocess.TimeoutExpired:  # jobs in the background, such as an instance, must end as well
            os.killpg(running.pid, signal.SIGTERM)
            try:
                printed, errors = running.communicate(timeout=30)
            except subprocess.TimeoutExpired:
                os.killpg(running.pid, signal.SIGKILL)
                printed, errors = running.communicate()
            raise TimeoutError(f"{command} did not end within {SECONDS} seconds: {printed}{errors}") from None
    assert running.returncode == 0, printed + errors
    return printed


def objects(printed: str) -> list[dict[str, Any]]:
    """Return the JSON objects that a block printed; curl does not end them with a line."""
    decoder, found, position = json.JSONDecoder(), [], 0
    while (position := printed.find('{"', position)) >= 0:
        value, position = decoder.raw_decode(printed, position)
        found.append(value)
    return found

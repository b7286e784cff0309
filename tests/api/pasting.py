"""A shell into which a test pastes the commands of a page, as a reader does."""

import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.architecture.source import ROOT
from tests.instance import AnnalsInstance, plain

ACTIVATED = str(ROOT / ".venv" / "bin")
"""The folder that activating the environment puts on the PATH of a terminal."""

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
    ended = subprocess.run(
        command, input=text, cwd=folder, env=environment, text=True, capture_output=True, timeout=200, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def objects(printed: str) -> list[dict[str, Any]]:
    """Return the JSON objects that a block printed; curl does not end them with a line."""
    decoder, found, position = json.JSONDecoder(), [], 0
    while (position := printed.find('{"', position)) >= 0:
        value, position = decoder.raw_decode(printed, position)
        found.append(value)
    return found

"""The official SDKs, unmodified, each in its own folder and process, since they cannot share an environment."""

import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests import node

HERE = Path(__file__).parent
CACHE = Path(tempfile.gettempdir()) / f"annals-sdks-{os.getuid()}"
SDKS = ("appwrite==15.3.0", "appwrite==27.0.0", "node-appwrite@27.1.0")
"""Formats 1.8.0, 2.5.0 and 1.9.5."""


class SdkError(Exception):
    """An exception of an SDK: an error answer with `code` and `type`, or an error of the SDK itself without a code."""

    def __init__(self, message: str, code: int | None, kind: str) -> None:
        super().__init__(message)
        self.code, self.type = code, kind

    def __str__(self) -> str:
        return f"{super().__str__()} ({self.code} {self.type})"


class Sdk:
    """An SDK with one credential. `call` takes the reference's names of operations and parameters.

    Operations of functions are named without their service: `create`, but `users.create`.
    """

    def __init__(self, name: str, process: "subprocess.Popen[str]") -> None:
        self.name, self._process = name, process

    def call(self, method: str, /, **sent: Any) -> Any:
        """Call an operation, and return the result as plain values; raise SdkError for an exception of the SDK."""
        if self.name == "appwrite==15.3.0" and method == "createVariable":
            del sent["variableId"]  # it has no such parameter
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"method": method, "sent": sent}) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        if "error" in answer:
            raise SdkError(answer["error"], answer["code"], answer["type"])
        value = answer["value"]
        return bytes.fromhex(value["$bytes"]) if isinstance(value, dict) and "$bytes" in value else value

    def stop(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=60)


def start(name: str, endpoint: str, project: str, credential: str, kind: str = "key") -> Sdk:
    """Start the process of an SDK, which `stop` ends; `kind` of credential is key, session, jwt or none."""
    folder = installed(name)
    if name.startswith("node"):
        command = [str(node.bin_folder() / "node"), str(HERE / "node_driver.cjs"), str(folder)]
    else:
        command = [sys.executable, "-I", str(HERE / "python_driver.py"), str(folder)]
    process = subprocess.Popen(
        [*command, endpoint, project, kind, credential],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    )
    return Sdk(name, process)


def installed(name: str) -> Path:
    """Return the folder of an SDK, and install it at the first call; concurrent test runs wait for each other."""
    folder = CACHE / name.replace("=", "").replace("@", "-")
    CACHE.mkdir(mode=0o700, exist_ok=True)
    with _locked(CACHE / "lock"):
        if not folder.exists():
            draft = folder.with_suffix(".draft")
            shutil.rmtree(draft, ignore_errors=True)
            _install(name, draft)
            draft.rename(folder)
    return folder


def _install(name: str, folder: Path) -> None:
    if "@" in name:
        folder.mkdir()
        (folder / "package.json").write_text("{}")
        npm = str(node.bin_folder() / "npm")
        command = [npm, "install", "--silent", "--no-fund", "--no-audit", "--prefix", str(folder), name]
    else:
        command = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--target", str(folder), name]
    subprocess.run(command, check=True, timeout=400, cwd="/", env=node.environment())


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield

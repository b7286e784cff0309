"""Node and npm for tests, from the wheel that functions run with: no machine has to have them installed."""

import asyncio
import fcntl
import functools
import os
import tempfile
from pathlib import Path

from annals.executor.toolchains import Toolchains

CACHE = Path(tempfile.gettempdir()) / f"annals-node-{os.getuid()}"
RUNTIME = "node-22"


@functools.cache
def bin_folder() -> Path:
    """The folder with `node`, `npm` and `npx`; installed the first time, by one test run at a time."""
    CACHE.mkdir(mode=0o700, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        prefix = asyncio.run(Toolchains(CACHE).get(RUNTIME)).prefix
    assert prefix is not None
    return prefix / "bin"


def environment() -> dict[str, str]:
    """This process's environment with that node first on the path."""
    return {**os.environ, "PATH": f"{bin_folder()}{os.pathsep}{os.environ['PATH']}"}

"""Node and npm for tests, from the wheel that functions run with, so that no machine needs an installation."""

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
    """Return the folder with `node`, `npm` and `npx`; the first call installs it, under a lock between test runs."""
    CACHE.mkdir(mode=0o700, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        prefix = asyncio.run(Toolchains(CACHE).get(RUNTIME)).prefix
    assert prefix is not None
    return prefix / "bin"


def environment() -> dict[str, str]:
    """Return this process's environment with that node first in PATH."""
    return {**os.environ, "PATH": f"{bin_folder()}{os.pathsep}{os.environ['PATH']}"}

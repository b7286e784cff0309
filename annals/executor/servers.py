"""Puts function servers together as sandboxes see them: a language's own folder, and the helpers that all share."""

import shutil
import subprocess
from pathlib import Path

import structlog

import annals
from annals.executor.runtimes import INSIDE, Toolchain

log = structlog.get_logger()

RUNTIMES = Path(annals.__file__).with_name("runtimes")
SHARED = "shared"
COMPILE_SECONDS = 30.0


def lay_out(server: str, target: Path) -> None:
    """Make `target` the whole of a function server. Blocking."""
    ignored = shutil.ignore_patterns("__pycache__")
    for part in (server, SHARED):
        shutil.copytree(RUNTIMES / part, target, ignore=ignored, dirs_exist_ok=True)


def compile_for(toolchain: Toolchain, server: Path) -> None:
    """Compile a Python server for one interpreter, as sandboxes cannot write there. Blocking; never fails a start."""
    if toolchain.server != "python":
        return
    inside = Path(toolchain.binary)
    binary = toolchain.prefix / inside.relative_to(INSIDE) if toolchain.prefix else inside
    options = ["-I", "-S", "-m", "compileall", "-q", "-f", "--invalidation-mode", "unchecked-hash"]
    try:
        subprocess.run([binary, *options, server / "src"], capture_output=True, timeout=COMPILE_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError) as failure:
        log.warning("servers.not_compiled", python=toolchain.version, message=str(failure))

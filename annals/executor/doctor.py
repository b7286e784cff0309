"""What `annals doctor` says of this host: which drivers work and why not, which limits and networks there are."""

import asyncio
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec

from annals.domain.runtimes import RUNTIMES, split
from annals.executor.config import ExecutorConfig
from annals.executor.drivers.bubblewrap import UPGRADE, find
from annals.executor.drivers.engine import engine_problem
from annals.executor.drivers.sandbox import SandboxDriver
from annals.executor.errors import BubblewrapUnusable
from annals.executor.isolation import seccomp
from annals.executor.isolation.network import unusable

USERNS_FIX = (
    "Allow user namespaces: as root, `sysctl -w kernel.apparmor_restrict_unprivileged_userns=0` (Ubuntu) or"
    " `sysctl -w kernel.unprivileged_userns_clone=1 user.max_user_namespaces=65536`; in a container, run it with"
    " `--security-opt seccomp=unconfined --cap-add SYS_ADMIN`, or use the docker driver."
)
WATCHED_MEMORY = (
    "The watchdog looks ten times a second and counts resident pages, page tables, /tmp and /dev/shm; memfd_create,"
    " System V memory and shared anonymous memory are refused to sandboxes. Buffers of pipes and sockets count nowhere."
)
DOCKER_FIX = "Start Docker Engine and give this user access to its socket, then run `annals images build`."


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One finding: `ok` or not, what was found, and the next step where there is one.

    What is `absent` is not needed here, and so is neither right nor wrong.
    """

    name: str
    ok: bool
    detail: str
    fix: str = ""
    absent: bool = False


async def checks(config: ExecutorConfig) -> list[Check]:
    """Look at this host by trying; starts one sandbox that does nothing, and disturbs no running executor."""
    os.umask(0o022)  # as the executor's: sandboxed users read what is laid out for them
    with tempfile.TemporaryDirectory(prefix="annals-doctor-") as scratch:
        work = Path(scratch)
        await asyncio.to_thread(work.chmod, 0o711)
        sandbox = SandboxDriver(msgspec.structs.replace(config, work=work))
        problem = _unsupported()
        if not problem:
            problem = await _try(sandbox)
        found = [
            Check(
                name="driver sandbox",
                ok=not problem,
                detail=f"cannot be used: {problem}" if problem else "works",
                fix=USERNS_FIX if problem else "",
            ),
            await asyncio.to_thread(bubblewrap_check, config.bwrap),
            await _docker(config),
            _limits(sandbox.enforced()),
            _build_disk(),
            served_check(await sandbox.served()),
        ]
        return [*found, _network(config)]


def served_check(served: Sequence[str]) -> Check:
    """The runtimes that the sandbox driver serves, and why functions of others do not come to run on it."""
    known = {split(runtime) for runtime in served}
    others = sorted({runtime.key for runtime in RUNTIMES.values()} - {language for language, _ in known})
    return Check(
        name="runtimes",
        ok=True,
        detail=", ".join(served) or "none",
        fix=f"Functions of other runtimes ({', '.join(others)}) are accepted, as the contract demands, but their builds"
        " fail on the sandbox driver. They need ANNALS_DRIVER=docker and an image (ANNALS_IMAGES)."
        if others
        else "",
    )


def _unsupported() -> str:
    if platform.system() != "Linux":
        return "sandboxes need Linux"
    if platform.machine() not in seccomp.ARCHITECTURES:
        return f"there is no system call filter for {platform.machine()}"
    if not shutil.which("bash"):
        return "bash is not installed"
    return ""


async def _try(sandbox: SandboxDriver) -> str:
    try:
        await sandbox.open()
        return await sandbox.problem()
    except (OSError, subprocess.SubprocessError, BubblewrapUnusable) as failure:
        return str(failure)
    finally:
        await sandbox.close()


def bubblewrap_check(configured: str) -> Check:
    """Say which program starts sandboxes, and what to do about one with a known hole. Blocking."""
    try:
        program = find(configured)
    except BubblewrapUnusable as error:
        return Check(name="bubblewrap", ok=False, detail=str(error), fix="Correct ANNALS_BWRAP, or leave it empty.")
    if program.safe:
        return Check(name="bubblewrap", ok=True, detail=str(program))
    return Check(name="bubblewrap", ok=True, detail=f"{program} (WARNING: CVE-2026-87766)", fix=UPGRADE)


async def _docker(config: ExecutorConfig) -> Check:
    problem = await asyncio.to_thread(engine_problem, config)
    return Check(
        name="driver docker",
        ok=not problem or config.driver != "docker",
        detail=problem or "works",
        fix=DOCKER_FIX if problem else "",
        absent=bool(problem) and config.driver != "docker",
    )


def _limits(enforced: dict[str, str]) -> Check:
    weak = [
        name for name, how in enforced.items() if how == "none" or (how == "watchdog" and name in ("memory", "pids"))
    ]
    detail = ", ".join(f"{name}: {how}" for name, how in enforced.items())
    return Check(
        name="limits",
        ok=True,
        detail=f"{detail}. {WATCHED_MEMORY}" if enforced["memory"] == "watchdog" else detail,
        fix=f"For kernel limits on {', '.join(weak)}, run the executor as root or in a delegated cgroup"
        " (`systemd-run --user --scope -p Delegate=yes annals up`)."
        if weak
        else "",
    )


def _build_disk() -> Check:
    counted = "names and deleted files that are open or mapped" if os.geteuid() == 0 else "names and deleted open files"
    unseen = "mappings, handles in flight and closed processes" if os.geteuid() else "handles in flight"
    return Check(
        name="build disk",
        ok=True,
        detail=f"watched by {counted}; {unseen} count by what the file system loses; the kernel bounds each file",
    )


def _network(config: ExecutorConfig) -> Check:
    problem = unusable()
    wanted = config.network == "isolated"
    modes = "host" if problem else "host, isolated"
    detail = f"sandboxes use {config.network}; possible here: {modes}"
    if not wanted:
        detail += " (host is no boundary between tenants on the network)"
    return Check(name="network", ok=not (wanted and problem), detail=detail, fix=problem)

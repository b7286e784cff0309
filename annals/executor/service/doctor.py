"""The executor's checks for `annals doctor`: which drivers, limits and networks work on this host, and why not."""

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
from annals.executor.drivers.docker import DockerDriver
from annals.executor.drivers.engine import engine_problem
from annals.executor.drivers.sandbox import SandboxDriver
from annals.executor.errors import ApiUnreachable, BubblewrapUnusable, StartFailed
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


class HostCheck(msgspec.Struct, frozen=True, kw_only=True):
    """The result of one check: `ok` or not, a detail, and the next step, if there is one.

    `absent` marks a feature that is missing but not needed.
    """

    name: str
    ok: bool
    detail: str
    fix: str = ""
    absent: bool = False


async def checks(config: ExecutorConfig) -> list[HostCheck]:
    """Check this host. Starts one sandbox that does nothing; a running executor is not affected."""
    os.umask(0o022)  # as in the executor: sandboxed users read files that this process writes
    with tempfile.TemporaryDirectory(prefix="annals-doctor-") as temporary:
        work = Path(temporary)
        await asyncio.to_thread(work.chmod, 0o711)
        sandbox = SandboxDriver(msgspec.structs.replace(config, work=work))
        problem = _unsupported()
        if not problem:
            problem = await _try(sandbox)
        found = [
            HostCheck(
                name="driver sandbox",
                ok=not problem or config.driver == "docker",
                detail=f"cannot be used: {problem}" if problem else "works",
                fix=USERNS_FIX if problem else "",
                absent=bool(problem) and config.driver == "docker",
            ),
            await asyncio.to_thread(bubblewrap_check, config.bwrap),
            *await _docker(msgspec.structs.replace(config, work=work / "docker")),
            _build_disk(),
        ]
        if config.driver == "docker":
            return found
        return [*found, _limits(sandbox.enforced()), served_check(await sandbox.served()), _network(config)]


def served_check(served: Sequence[str]) -> HostCheck:
    """Return the runtimes that the sandbox driver serves, and what functions of other runtimes need."""
    known = {split(runtime) for runtime in served}
    others = sorted({runtime.key for runtime in RUNTIMES.values()} - {language for language, _ in known})
    return HostCheck(
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


def bubblewrap_check(configured: str) -> HostCheck:
    """Return which program starts sandboxes, and what to do if it has a known vulnerability. Blocking."""
    try:
        program = find(configured)
    except BubblewrapUnusable as error:
        return HostCheck(name="bubblewrap", ok=False, detail=str(error), fix="Correct ANNALS_BWRAP, or leave it empty.")
    if program.safe:
        return HostCheck(name="bubblewrap", ok=True, detail=str(program))
    return HostCheck(name="bubblewrap", ok=True, detail=f"{program} (WARNING: CVE-2026-87766)", fix=UPGRADE)


async def _docker(config: ExecutorConfig) -> list[HostCheck]:
    """Check the engine, and if the executor uses it, what it serves and the network that functions run in."""
    problem = await asyncio.to_thread(engine_problem, config)
    used = config.driver == "docker"
    check = HostCheck(
        name="driver docker",
        ok=not problem or not used,
        detail=problem or "works",
        fix=DOCKER_FIX if problem else "",
        absent=bool(problem) and not used,
    )
    return [check, *await _containers(config)] if used and not problem else [check]


async def _containers(config: ExecutorConfig) -> list[HostCheck]:
    """Open the driver as an executor does; return its limits and runtimes, and what functions reach.

    No port of the host is opened to functions, since the executor that runs here may have other settings.
    """
    driver = DockerDriver(msgspec.structs.replace(config, network_allow=()))
    try:
        await driver.open()
        served = ", ".join(await driver.served())
    except (ApiUnreachable, StartFailed) as error:
        return [HostCheck(name="functions' network", ok=False, detail=config.docker_network, fix=str(error))]
    finally:
        await driver.close()
    api = f"reach the API at {config.api_url}" if config.api_url else "use the clients' address of the API, unchecked"
    limits = ", ".join(f"{name}: {how}" for name, how in driver.enforced().items())
    return [
        HostCheck(name="limits", ok=True, detail=limits),
        HostCheck(name="runtimes", ok=True, detail=served, fix="`annals images build RUNTIME` adds another one."),
        HostCheck(name="functions' API", ok=True, detail=f"containers {api}"),
        HostCheck(
            name="functions' network",
            ok=True,
            detail=f"{config.docker_network}: host and cloud metadata are {'open' if driver.unclosed else 'closed'}",
            fix=driver.unclosed,
        ),
    ]


def _limits(enforced: dict[str, str]) -> HostCheck:
    weak = [
        name for name, how in enforced.items() if how == "none" or (how == "watchdog" and name in ("memory", "pids"))
    ]
    detail = ", ".join(f"{name}: {how}" for name, how in enforced.items())
    return HostCheck(
        name="limits",
        ok=True,
        detail=f"{detail}. {WATCHED_MEMORY}" if enforced["memory"] == "watchdog" else detail,
        fix=f"For kernel limits on {', '.join(weak)}, run the executor as root or in a delegated cgroup"
        " (`systemd-run --user --scope -p Delegate=yes annals up`)."
        if weak
        else "",
    )


def _build_disk() -> HostCheck:
    counted = "names and deleted files that are open or mapped" if os.geteuid() == 0 else "names and deleted open files"
    unseen = "mappings, handles in flight and closed processes" if os.geteuid() else "handles in flight"
    return HostCheck(
        name="build disk",
        ok=True,
        detail=f"watched by {counted}; {unseen} count by what the file system loses; the kernel bounds each file",
    )


def _network(config: ExecutorConfig) -> HostCheck:
    problem = unusable()
    wanted = config.network == "isolated"
    modes = "host" if problem else "host, isolated"
    detail = f"sandboxes use {config.network}; possible here: {modes}"
    if not wanted:
        detail += " (host is no boundary between tenants on the network)"
    return HostCheck(name="network", ok=not (wanted and problem), detail=detail, fix=problem)

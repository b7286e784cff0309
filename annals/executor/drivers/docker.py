"""The docker driver: hardened containers through the engine's API. Recommended for several tenants.

One file because it is about one thing: from a task to the options of a container.
"""

import asyncio
import itertools
import os
import tarfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from annals.domain.ports import Limits
from annals.domain.runtimes import split
from annals.executor.config import ExecutorConfig
from annals.executor.drivers import layout
from annals.executor.drivers.container import ContainerSandbox
from annals.executor.drivers.engine import LABEL, OWN, Engine, own_images
from annals.executor.drivers.port import Construct, Sandbox, Serve, Sink, TcpAddress, UnixAddress, started
from annals.executor.errors import ApiUnreachable, RuntimeUnavailable, StartFailed
from annals.executor.isolation.disk import DiskBound, Meter, watch
from annals.executor.isolation.trash import Trash
from annals.executor.toolchains import STATIC

FIRST_UID = 2_000_000_000
UIDS = 60_000
CLOSE_SECONDS = 3.0
"""Plus the executor's time for its instances, this is less than the time that the supervisor gives the executor."""
LOOK_SECONDS = 5.0
"""How often the disk use of a function server is measured."""
KNOWN_SECONDS = 30.0
"""How long the result of an image lookup is reused."""
FOREIGN_CAPABILITIES = ["CHOWN", "DAC_OVERRIDE", "FOWNER"]
"""Helpers of foreign images run as root and write to folders of root; they need these capabilities and no others."""
HOLD = ["tail", "-f", "/dev/null"]
"""The program of a container that only waits for commands."""

API_SECONDS = 10
"""How long the API's address may take to accept a connection when an executor starts."""
CONNECT = 'until (exec 3<>"/dev/tcp/$0/$1") 2>/dev/null; do sleep 0.3; done'

CONCURRENCY = {"node": 64, "python": 16, STATIC: 16}


class _Image(NamedTuple):
    name: str
    own: bool


class DockerDriver:
    """Every sandbox is one container. Its label identifies it, so that a later executor can remove it."""

    name = "docker"

    def __init__(self, config: ExecutorConfig) -> None:
        self._config = config
        self._engine = Engine(config)
        self._trash = Trash(config.work)
        self._uids = itertools.cycle(range(FIRST_UID, FIRST_UID + UIDS))
        self._running: set[ContainerSandbox] = set()
        self._known: dict[str, tuple[_Image, float]] = {}

    async def open(self) -> None:
        """Connect to the engine. Raises EngineAway, NetworkUnusable, ApiUnreachable."""
        await self._engine.open()
        if self._config.api_url:
            await self._try_api()

    async def _try_api(self) -> None:
        """Connect to the API from a container, as functions do. Raises ApiUnreachable."""
        url = urlsplit(self._config.api_url)
        host, port = url.hostname or "", url.port or (443 if url.scheme == "https" else 80)
        runtimes = await self._engine.call(own_images, self._engine.client)
        if not runtimes:  # nothing can run yet; foreign images need not have bash
            return
        image = _Image(f"annals/{runtimes[0].replace('-', ':', 1)}", own=True)
        options = self._hardened("reaches-api", self._config.usual, self._config.pids) | {
            "command": ["timeout", f"{API_SECONDS}", "bash", "-c", CONNECT, host, str(port)],
            "user": "65534:65534",
        }
        sandbox = await self._begin(image, options, lambda _: None)
        if (await sandbox.wait()).code != 0:
            loopback = host == "localhost" or host.startswith("127.")
            reason = f"{host} is the container itself" if loopback else f"nothing answered for {API_SECONDS} seconds"
            raise ApiUnreachable(
                f"Functions cannot reach the API at {self._config.api_url}: in a container of the network"
                f" {self._config.docker_network}, {reason}. Publish the API's port at an address of this host that"
                " containers reach, such as the gateway of that network, and set ANNALS_FUNCTIONS_API_URL to it."
            )

    @property
    def unclosed(self) -> str:
        """Why this executor cannot close the host to functions; empty if it has done so."""
        return self._engine.unclosed

    async def close(self) -> None:
        """Kill running containers. If the engine does not answer, the next executor on this host removes the rest."""
        ending = [asyncio.create_task(sandbox.kill()) for sandbox in self._running]
        if ending:
            _, hanging = await asyncio.wait(ending, timeout=CLOSE_SECONDS)
            for task in hanging:
                task.cancel()
        await self._engine.close()

    async def prepare(self, runtime: str) -> None:
        await self._image(runtime)

    async def served(self) -> list[str]:
        named = [*self._config.images, *await self._engine.call(own_images, self._engine.client)]
        return sorted({id for id in named if not self._config.allow or id in self._config.allow})  # noqa: A001

    def enforced(self) -> dict[str, str]:
        return {
            **dict.fromkeys(("memory", "cpu", "pids", "files", "temporary"), "kernel"),
            **dict.fromkeys(("build_disk", "time"), "watchdog"),
            "network": "none" if self._engine.unclosed else "kernel",
        }

    async def _image(self, runtime: str) -> _Image:
        language, version = split(runtime)
        name = self._config.images.get(runtime, f"annals/{language}:{version}")
        allowed = not self._config.allow or runtime in self._config.allow
        known, until = self._known.get(name, (None, 0.0))
        if allowed and known is not None and time.monotonic() < until:
            return known
        image = await self._engine.call(self._look_up, name) if allowed else None
        if image is None:
            served = ", ".join(await self.served()) or "none: make them with `annals images build`"
            raise RuntimeUnavailable(f"The runtime {runtime} has no image on this engine; it serves {served}.")
        found = _Image(name, bool((image.labels or {}).get(OWN)))
        self._known[name] = found, time.monotonic() + KNOWN_SECONDS
        return found

    def _look_up(self, name: str) -> Any:
        from docker.errors import ImageNotFound  # noqa: PLC0415 heavy, and only where docker is used

        try:
            return self._engine.client.images.get(name)
        except ImageNotFound:
            return None

    @property
    def idle_limits(self) -> Limits:
        return self._config.usual

    def idles(self, runtime: str, limits: Limits) -> bool:
        """Return True for our own images at the default size: an interpreter plans with the memory it starts with."""
        return runtime not in self._config.images and split(runtime)[0] in CONCURRENCY and limits == self.idle_limits

    async def serve(self, task: Serve, output: Sink) -> Sandbox:
        image = await self._image(task.runtime)
        if not image.own:
            return await self._serve_foreign(image, task, output)
        uid = self._uid()
        sockets, code = task.folder / "io", task.code or task.folder / layout.SLOT
        await asyncio.to_thread(_own, uid, (sockets,))
        if task.code is None:
            await asyncio.to_thread(code.mkdir)
        environment = {
            **layout.DEFAULTS,
            **task.environment,
            "ANNALS_LISTEN": f"unix:{layout.SOCKETS}/http.sock",
            "ANNALS_LOGS": f"unix:{layout.SOCKETS}/logs.sock",
            "ANNALS_LOG_LIMIT": str(self._config.log_limit_bytes),
            **({} if task.code else layout.IDLE),
        }
        options = self._hardened(task.name, task.limits, self._config.pids) | {
            "command": ["bash", "helpers/server.sh"],
            "user": f"{uid}:{uid}",
            "environment": environment,
            "volumes": [f"{sockets}:{layout.SOCKETS}:rw", f"{code}:{layout.FUNCTION}:ro"],
            "ulimits": _file_bound(self._config.tmp_bytes),
        }
        address = UnixAddress(sockets, "http.sock")
        announces = split(task.runtime)[0] == "python"
        sandbox = await self._begin(
            image, options, output, concurrency=concurrency(task.runtime), announces=announces, address=address
        )
        return _watched(sandbox, sockets, self._config.tmp_bytes)

    async def _serve_foreign(self, image: _Image, task: Serve, output: Sink) -> Sandbox:
        """Start a foreign image as the contract says: it unpacks an archive, listens on port 3000, writes log files."""
        if task.code is None:
            raise StartFailed("A foreign image cannot start without code.")
        logs = task.folder / "logs"
        await asyncio.to_thread(_lay_out_contract_folders, task.folder, task.code)
        options = self._hardened(task.name, task.limits, self._config.pids) | {
            "entrypoint": ["bash", "-c"],
            "command": ['exec bash helpers/start.sh "bash helpers/server.sh"'],
            "environment": task.environment,
            "volumes": [f"{task.folder / name}:/mnt/{name}:rw" for name in ("code", "logs", "telemetry")],
            "cap_add": FOREIGN_CAPABILITIES,
            "read_only": False,
        }
        serving = {"concurrency": concurrency(task.runtime), "log_files": logs, "layered": True}
        sandbox = await self._begin(image, options, output, **serving)
        return _watched(sandbox, task.folder, self._config.build_disk_bytes)

    async def construct(self, task: Construct, output: Sink) -> Sandbox:
        image = await self._image(task.runtime)
        shown, files = layout.passed_through(self._config.passthrough, os.environ)
        folders = {name: task.folder / name for name in ("source", "build", "output")}
        options = self._hardened(task.name, task.limits, self._config.build_pids) | {
            "command": ["bash", "helpers/build.sh", task.commands],
            "environment": {**layout.DEFAULTS, **shown, **task.environment},
            "volumes": [f"{file}:{file}:ro" for file in files],
            "tty": True,
        }
        if image.own:
            uid = self._uid()
            await asyncio.to_thread(_own, uid, (folders["build"], folders["output"]))
            if task.cache is not None and os.geteuid() == 0:
                await asyncio.to_thread(self._trash.hand_over, task.cache, uid)
            options["user"] = f"{uid}:{uid}"
            options["ulimits"] = _file_bound(self._config.build_disk_bytes)
            options["volumes"].append(f"{folders['build']}:{layout.BUILD}:rw")
        else:
            options |= {"cap_add": FOREIGN_CAPABILITIES, "read_only": False}
        if task.waits_for_commands:
            options |= {"entrypoint": HOLD, "command": []}
            archive = task.folder / layout.ARCHIVE
            options["volumes"] += [f"{archive}:{layout.PACKED}:ro"] if archive.exists() else []
        elif image.own:
            options["environment"] |= layout.BUILD_PATHS
            options["volumes"].append(f"{folders['source']}:{layout.SOURCE}:ro")
        else:  # the contract's helper reads its input from its output folder
            await asyncio.to_thread(_use_output_as_input, folders["source"], folders["output"])
        options["volumes"].append(f"{folders['output']}:{layout.OUTPUT}:rw")
        if task.cache is not None:
            options["volumes"].append(f"{task.cache}:{layout.CACHE}:rw")
        return await self._begin(image, options, output, layered=not image.own)

    def _uid(self) -> int:
        return next(self._uids) if os.geteuid() == 0 else os.geteuid()

    def _hardened(self, name: str, limits: Limits, pids: int) -> dict[str, Any]:
        memory = limits.memory_mb * 1024 * 1024
        return {
            "name": f"annals-{self._engine.label}-{name}",  # several executors may share an engine
            "hostname": "function",
            "labels": {LABEL: self._engine.label},
            "working_dir": layout.SERVER,
            "network": self._config.docker_network,
            "cap_drop": ["ALL"],
            "security_opt": ["no-new-privileges:true"],
            "read_only": True,
            "tmpfs": {"/tmp": f"rw,nosuid,nodev,mode=1777,size={self._config.tmp_bytes}"},  # noqa: S108 the container's
            "shm_size": self._config.tmp_bytes // 4,
            "mem_limit": memory,
            "memswap_limit": memory,
            # the engine rejects more processors than it has
            "nano_cpus": int(min(limits.cpus, self._engine.cpus) * 1_000_000_000),
            "pids_limit": pids,
            "ipc_mode": "private",
            "restart_policy": {"Name": "no"},
        }

    async def _begin(self, image: _Image, options: dict[str, Any], sink: Sink, **serving: Any) -> ContainerSandbox:
        return await started(self._start(image, options, sink, **serving))

    async def _start(
        self,
        image: _Image,
        options: dict[str, Any],
        sink: Sink,
        *,
        concurrency: int = 1,
        announces: bool = False,
        address: UnixAddress | None = None,
        log_files: Path | None = None,
        layered: bool = False,
    ) -> ContainerSandbox:
        container, output, ip = await self._engine.run(image.name, options, addressed=bool(log_files))

        def done() -> None:
            self._running.discard(sandbox)
            self._engine.ended(options["name"], removed=sandbox.removed)

        sandbox = ContainerSandbox(
            container,
            output,
            threads=self._engine.threads,
            sink=sink,
            address=address or (TcpAddress(ip, 3000) if log_files else None),
            log_files=log_files,
            concurrency=concurrency,
            announces=announces,
            done=done,
            layered=layered,
        )
        self._running.add(sandbox)
        return sandbox


def concurrency(runtime: str) -> int:
    return CONCURRENCY.get(split(runtime)[0], 1)


def _file_bound(most: int) -> list[Any]:
    from docker.types import Ulimit  # noqa: PLC0415 heavy, and only where docker is used

    return [Ulimit(name="fsize", soft=most, hard=most)]


def _watched(sandbox: ContainerSandbox, folder: Path, most: int) -> ContainerSandbox:
    """Kill a function server that writes more than `most` bytes to `folder` and its layer."""
    meter = Meter(folder, sandbox.open_file_usage)
    sandbox.guard(asyncio.create_task(watch(meter, DiskBound(most), sandbox.breached, LOOK_SECONDS)))
    return sandbox


def _own(uid: int, paths: Iterable[Path]) -> None:
    if os.geteuid() == 0:
        for path in paths:
            os.chown(path, uid, uid)


def _lay_out_contract_folders(folder: Path, code: Path) -> None:
    """Make the folders that the contract's function servers expect, with the code as an archive. Blocking."""
    for name in ("code", "logs", "telemetry"):
        (folder / name).mkdir(mode=0o755)
    with tarfile.open(folder / "code" / "code.tar.gz", "w:gz", compresslevel=1) as archive:
        archive.add(code, arcname=".")


def _use_output_as_input(source: Path, output: Path) -> None:
    """Move the source to the output folder, where the contract's build helper reads it. Blocking."""
    output.rmdir()
    source.rename(output)
    source.mkdir()

"""The sandbox driver: bubblewrap, no daemon, no root needed.

One file because it is about one thing: from a task to a running sandbox.
"""

import asyncio
import itertools
import os
from pathlib import Path

import msgspec

from annals.domain.ports import Limits
from annals.domain.runtimes import split
from annals.executor.config import ExecutorConfig
from annals.executor.drivers import attach_code, bubblewrap, layout
from annals.executor.drivers.descriptors import StartDescriptors, listening_socket
from annals.executor.drivers.port import IDLE_LIMITS, Construct, Sandbox, Serve, Sink, UnixAddress, started
from annals.executor.drivers.process import ProcessSandbox, kill_tree
from annals.executor.drivers.sandbox_agent import SandboxAgent
from annals.executor.errors import StartFailed
from annals.executor.isolation import cgroups, seccomp
from annals.executor.isolation.cgroups import ControlGroup
from annals.executor.isolation.limits import enforced, watch
from annals.executor.isolation.network import Namespace, Networks
from annals.executor.isolation.spawner import Spawn, Spawner
from annals.executor.isolation.trash import Trash
from annals.executor.toolchains import STATIC, Toolchain, Toolchains, compile_for, lay_out

FIRST_UID = 2_000_000_000
UIDS = 60_000
"""As root, each sandbox gets a different user id from this range, which no other process uses."""
LISTENING_SOCKET = "http.sock"


class _Plan(msgspec.Struct, frozen=True, kw_only=True):
    """One sandbox to start. `words` are arguments of bubblewrap.

    The sandbox's user gets the `owned` folders, and `cache` with all that is in it. `idle` is the toolchain of a
    function server that gets its code later. `file_bytes` bounds each file that is written, 0 for no bound. With
    `has_agent` the sandbox takes commands, and `command` may be empty.
    """

    name: str
    words: list[str]
    command: list[str]
    limits: Limits
    pids: int
    file_bytes: int = 0
    owned: tuple[Path, ...] = ()
    address: UnixAddress | None = None
    listening_socket: int = -1
    concurrency: int = 1
    announces: bool = False
    terminal: bool = False
    cache: Path | None = None
    idle: Toolchain | None = None
    has_agent: bool = False


class SandboxDriver:
    """Every sandbox is one bubblewrap process tree below the executor; as root, each has its own user."""

    name = "sandbox"

    def __init__(self, config: ExecutorConfig) -> None:
        self._config = config
        self._spawner = Spawner()
        self._toolchains = Toolchains(config.data / "runtimes", config.allow)
        self._program = ""
        """The path by which an unprivileged child reaches bubblewrap."""
        self._filter = b""
        self._watched: frozenset[str] = frozenset()
        """The limits that a watchdog enforces, because control groups cannot."""
        self._groups: cgroups.Hierarchy | None = None
        self._running: set[ProcessSandbox] = set()
        self._uids = itertools.cycle(range(FIRST_UID, FIRST_UID + UIDS))
        self._etc = config.work / "etc"
        self._servers = config.work / "servers"
        self._trash = Trash(config.work)
        self._compiled: dict[str, asyncio.Future[None]] = {}
        self._networks = (
            Networks(config.work, config.network_allow, config.network_closed) if config.network == "isolated" else None
        )

    async def open(self) -> None:
        program = await asyncio.to_thread(bubblewrap.find, self._config.bwrap)
        if self._networks:
            await self._networks.open()
        await self._spawner.open()
        self._program = await program.staged(self._spawner)
        self._groups = await asyncio.to_thread(self._make_ready)

    def _make_ready(self) -> cgroups.Hierarchy | None:
        layout.write_etc(self._etc)
        self._trash.remove(self._servers)
        for server in ("node", "python"):
            lay_out(server, self._servers / server)
        groups = cgroups.find(self._config.work)
        if groups is not None:
            groups.clear()
        self._watched = frozenset({"memory", "pids"} - (groups.resources if groups else frozenset()))
        self._filter = seccomp.compile_filter(watched="memory" in self._watched)
        return groups

    async def close(self) -> None:
        await asyncio.gather(*(sandbox.kill() for sandbox in tuple(self._running)))
        await self._spawner.close()
        if self._groups:
            await asyncio.to_thread(self._groups.close)
        if self._networks:
            await self._networks.close()

    async def prepare(self, runtime: str) -> None:
        await self._toolchains.get(runtime)

    async def served(self) -> list[str]:
        return await self._toolchains.served()

    def enforced(self) -> dict[str, str]:
        return enforced(self._groups.resources if self._groups else frozenset())

    @property
    def idle_limits(self) -> Limits:
        return IDLE_LIMITS

    def idles(self, runtime: str, _: Limits) -> bool:
        return split(runtime)[0] in ("node", "python", STATIC)

    async def serve(self, task: Serve, output: Sink) -> Sandbox:
        toolchain = await self._toolchains.get(task.runtime)
        sockets = task.folder / "io"
        with await asyncio.to_thread(listening_socket, task.folder, LISTENING_SOCKET) as listener:
            arguments = [
                *await self._root(toolchain),
                *("--ro-bind", await self._reach(sockets), layout.SOCKETS),
                *await self._shown_code(task),
                *layout.SEALED,
            ]
            environment = {
                **layout.environment(toolchain, task.environment),
                "ANNALS_LISTEN": f"fd:{listener.fileno()}",
                "ANNALS_LOGS": f"unix:{layout.SOCKETS}/logs.sock",
                "ANNALS_LOG_LIMIT": str(self._config.log_limit_bytes),
                **({} if task.code else layout.IDLE),
            }
            plan = _Plan(
                name=task.name,
                words=[*arguments, *layout.variables(environment), "--chdir", layout.SERVER],
                command=["/usr/bin/bash", "helpers/server.sh"],
                limits=task.limits,
                pids=self._config.pids,
                owned=(sockets,),
                address=UnixAddress(task.folder, LISTENING_SOCKET),
                listening_socket=listener.fileno(),
                concurrency=toolchain.concurrency,
                announces=toolchain.announces,
                idle=None if task.code else toolchain,
                has_agent=task.has_agent,
            )
            return await started(self._start(plan, output))

    async def _shown_code(self, task: Serve) -> list[str]:
        """Return the arguments that show the code. For an idle server: none (mounted later), or an empty folder."""
        if task.code is not None:
            return ["--ro-bind", await self._reach(task.code), layout.FUNCTION]
        if self._spawner.privileged:
            return []
        slot = task.folder / layout.SLOT
        await asyncio.to_thread(slot.mkdir, mode=0o755)
        return ["--ro-bind", await self._reach(slot), layout.FUNCTION]

    async def _specialise(self, sandbox: ProcessSandbox, toolchain: Toolchain | None, task: Serve) -> dict[str, str]:
        if task.code is None or toolchain is None:
            raise StartFailed("An idle instance cannot be specialised without code.")
        try:
            if self._spawner.privileged:
                await asyncio.to_thread(attach_code.mount, task.code, sandbox.pid, layout.FUNCTION)
            else:
                await asyncio.to_thread(attach_code.link, task.code, task.folder / layout.SLOT)
        except OSError as refused:
            raise StartFailed(f"The code could not be shown to an idle instance: {refused}.") from refused
        self._guard(sandbox, task.limits, self._config.pids)
        return layout.environment(toolchain, task.environment)

    async def construct(self, task: Construct, output: Sink) -> Sandbox:
        toolchain = await self._toolchains.get(task.runtime)
        folders = {name: task.folder / name for name in ("build", "output")}
        shown, named = layout.passed_through(self._config.passthrough, os.environ)
        files = [file for file in named if not str(file).startswith(layout.SHOWN_ANYWAY)]
        arguments = [
            *await self._root(toolchain),
            *await self._shown_source(task),
            *("--bind", await self._reach(folders["build"]), layout.BUILD),
            *("--bind", await self._reach(folders["output"]), layout.OUTPUT),
            *(("--bind", await self._reach(task.cache), layout.CACHE) if task.cache else ()),
            *[word for file in files for word in ("--ro-bind", await self._spawner.stage(file), str(file))],
            *layout.SEALED,
        ]
        paths = {} if task.waits_for_commands else layout.BUILD_PATHS
        environment = {**shown, **layout.environment(toolchain, task.environment), **paths}
        plan = _Plan(
            name=task.name,
            words=[*arguments, *layout.variables(environment), "--chdir", layout.SERVER],
            command=[] if task.waits_for_commands else ["/usr/bin/bash", "helpers/build.sh", task.commands],
            limits=task.limits,
            pids=self._config.build_pids,
            file_bytes=self._config.build_disk_bytes,
            owned=(folders["build"], folders["output"]),
            cache=task.cache,
            terminal=True,
            has_agent=task.waits_for_commands,
        )
        return await started(self._start(plan, output))

    async def _shown_source(self, task: Construct) -> list[str]:
        """Return the arguments that show the source: a folder, or an archive as the contract says."""
        if not task.waits_for_commands:
            return ["--ro-bind", await self._reach(task.folder / "source"), layout.SOURCE]
        archive = task.folder / layout.ARCHIVE
        return ["--ro-bind", await self._reach(archive), layout.PACKED] if archive.exists() else []

    async def problem(self) -> str:
        """Return why no sandbox can start here, in bubblewrap's words; empty if a trial succeeds. Needs no runtime."""
        printed: list[bytes] = []
        server = await self._reach(self._servers / "python")
        words = [*await self._layout(server, prefix="", binary="/usr/bin/true", tmp_bytes=1 << 20), *layout.SEALED]
        limits = Limits(cpus=1, memory_mb=64)
        plan = _Plan(name="probe", words=words, command=["/usr/bin/true"], limits=limits, pids=16)
        try:
            sandbox = await self._start(plan, printed.append)
        except StartFailed as failure:
            return str(failure)
        end = await sandbox.wait()
        return "" if end.code == 0 else b"".join(printed).decode(errors="replace").strip() or f"exit code {end.code}"

    async def _root(self, toolchain: Toolchain) -> list[str]:
        """Return the arguments for a read-only root with one runtime."""
        folder = self._servers / toolchain.server
        if toolchain.version not in self._compiled:
            compiling = asyncio.to_thread(compile_for, toolchain, folder)
            self._compiled[toolchain.version] = asyncio.ensure_future(compiling)
        await asyncio.shield(self._compiled[toolchain.version])
        server = await self._reach(folder)
        prefix = await self._spawner.stage(toolchain.prefix) if toolchain.prefix else ""
        return await self._layout(server, prefix, toolchain.binary, self._config.tmp_bytes)

    async def _layout(self, server: str, prefix: str, binary: str, tmp_bytes: int) -> list[str]:
        watched = "memory" in self._watched
        etc = await self._reach(self._etc)
        return layout.root(etc=etc, server=server, prefix=prefix, binary=binary, tmp_bytes=tmp_bytes, watched=watched)

    async def _reach(self, path: Path) -> str:
        """Return the path by which sandboxed processes reach a path below the work folder."""
        return os.path.join(await self._spawner.stage(self._config.work), path.relative_to(self._config.work))

    async def _start(self, plan: _Plan, sink: Sink) -> Sandbox:
        uid = next(self._uids) if self._spawner.privileged else 0
        with StartDescriptors() as descriptors:
            group = await asyncio.to_thread(self._prepare, plan, uid)
            if group:
                descriptors.on_failure(group.remove)
            network = await self._networks.take() if self._networks else None
            descriptors.on_failure(lambda: self._let_go(network))
            output = descriptors.from_child(terminal=plan.terminal)
            alive = descriptors.from_child(inherit=True)
            sandbox_agent = SandboxAgent(descriptors) if plan.has_agent else None
            spawn = Spawn(
                arguments=self._command_line(plan, sandbox_agent, descriptors, alive.write),
                output=output.write,
                inherit=tuple(fd for fd in (*descriptors.inherited, plan.listening_socket) if fd >= 0),
                uid=uid,
                joins=group.entries if group else (),
                network=network.handle if network else -1,
                file_bytes=plan.file_bytes,
            )
            try:
                process = await self._spawner.start(spawn)
            except OSError as refused:
                raise StartFailed(f"The sandbox could not be started: {refused.strerror or refused}.") from refused
            descriptors.on_failure(lambda: kill_tree(process.pid))
            sandbox = ProcessSandbox(
                process,
                alive=alive.read,
                output=output.read,
                sink=sink,
                address=plan.address,
                concurrency=plan.concurrency,
                announces=plan.announces,
                group=group,
                done=lambda: self._gone(sandbox, network),
                specialise=(lambda task: self._specialise(sandbox, plan.idle, task)) if plan.idle else None,
                sandbox_agent=sandbox_agent,
            )
            descriptors.release()
        self._running.add(sandbox)
        self._guard(sandbox, plan.limits, plan.pids)
        return sandbox

    def _command_line(
        self, plan: _Plan, sandbox_agent: SandboxAgent | None, descriptors: StartDescriptors, alive: int
    ) -> list[str]:
        """Return the command that starts bubblewrap. `alive` is closed by the sandbox's last process."""
        rules = descriptors.memory_file("rules", self._filter)
        words = descriptors.memory_file("words", b"\0".join(word.encode() for word in plan.words))
        command = sandbox_agent.command_line(plan.command) if sandbox_agent else plan.command
        fixed = ["--sync-fd", str(alive), "--seccomp", str(rules), "--args", str(words)]
        return [self._program, *fixed, "--", *command]

    def _gone(self, sandbox: ProcessSandbox, network: Namespace | None) -> None:
        self._running.discard(sandbox)
        self._let_go(network)

    def _let_go(self, network: Namespace | None) -> None:
        if self._networks and network:
            self._networks.give_back(network)

    def _prepare(self, plan: _Plan, uid: int) -> ControlGroup | None:
        if uid:
            for folder in plan.owned:
                os.chown(folder, uid, uid)
            if plan.cache is not None:
                self._trash.hand_over(plan.cache, uid)
        return self._groups.create(plan.name, plan.limits, plan.pids) if self._groups else None

    def _guard(self, sandbox: ProcessSandbox, limits: Limits, pids: int) -> None:
        if self._watched:
            sandbox.guard(asyncio.create_task(watch(sandbox.pid, limits, pids, self._watched, sandbox.breached)))

"""One executor's client of the container engine: requests, failures, and removal of leftover containers.

An engine may be killed, restarted or stuck while its containers continue to run. Once it answers again, every container
of this executor that is no longer in use is removed.
"""

import asyncio
import hashlib
import os
import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

import structlog

from annals.executor.config import ExecutorConfig
from annals.executor.errors import EngineAway, NetworkUnusable, StartFailed
from annals.executor.isolation.network import close_host, unclosable

if TYPE_CHECKING:
    from collections.abc import Callable

    from docker import DockerClient
    from docker.models.containers import Container, ContainerCollection

T = TypeVar("T")
log = structlog.get_logger()

OWN = "annals.server"
"""The label of images whose server uses our socket and log channel; others use the contract's port and log files."""
LABEL = "annals.executor"
NETWORK = "annals"
BRIDGE = "annals0"
"""The bridge of the network with the default name."""
BRIDGE_OPTION = "com.docker.network.bridge.name"
SEPARATED_OPTION = "com.docker.network.bridge.enable_icc"
THREADS = 256
_ALL_OUTPUT = {"stdout": 1, "stderr": 1, "stream": 1, "logs": 1}
TIDY_SECONDS = 1.0
QUIET_SECONDS = 10.0
"""How long after its last failure an engine may still carry out earlier requests."""


class StartedContainer(NamedTuple):
    """A running container, its output, and its network address if one was requested."""

    container: "Container"
    output: Iterable[bytes]
    address: str


class Engine:
    """One executor's client of an engine. Blocking calls run in its own threads."""

    def __init__(self, config: ExecutorConfig) -> None:
        self.threads = ThreadPoolExecutor(THREADS, thread_name_prefix="engine")
        self.label = label_of(config.work)
        self.cpus = 1
        self.unclosed = ""
        self._config = config
        self._client: DockerClient | None = None
        self._names: set[str] = set()
        self._troubled = asyncio.Event()
        self._tidying: asyncio.Task[None] | None = None

    @property
    def client(self) -> "DockerClient":
        if self._client is None:
            raise StartFailed("The docker driver was not opened.")
        return self._client

    async def call(self, function: "Callable[..., T]", *arguments: Any) -> T:
        """Run a blocking function. Raises EngineAway if the engine gives no valid answer."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self.threads, function, *arguments)
        except engine_failures() as failure:
            self._troubled.set()
            log.warning("docker.engine_away", message=str(failure)[:300])
            raise EngineAway("The container engine does not answer.") from failure

    async def open(self) -> None:
        """Connect, and restore the network and its rules. Raises EngineAway, NetworkUnusable."""
        try:
            await asyncio.get_running_loop().run_in_executor(self.threads, self._open)
        except engine_failures() as failure:
            raise EngineAway(
                f"No container engine answers: {failure}. Start Docker Engine and give this user access to its socket, "
                "or use the other driver: ANNALS_DRIVER=sandbox."
            ) from failure
        self._tidying = asyncio.create_task(self._tidy(), name="engine-tidy")

    async def close(self) -> None:
        if self._tidying is not None:
            self._tidying.cancel()
            await asyncio.wait((self._tidying,))
        if self._client is not None:
            await asyncio.to_thread(self._client.close)
        self.threads.shutdown(wait=False, cancel_futures=True)

    async def run(self, image: str, options: dict[str, Any], *, addressed: bool) -> StartedContainer:
        """Start a container whose name counts as in use until `ended`. Raises StartFailed, EngineAway."""
        name = options["name"]
        self._names.add(name)
        try:
            return await self.call(self._run, image, options, addressed)
        except BaseException:
            self.ended(name, removed=False)
            raise

    def ended(self, name: str, *, removed: bool) -> None:
        """Mark a container as no longer in use; if it was not `removed`, it is removed when the engine answers."""
        self._names.discard(name)
        if not removed:
            self._troubled.set()

    def _open(self) -> None:
        self._client = connect(self._config.docker_host)
        self.cpus = int(self._client.info()["NCPU"])
        self._restore()
        if self.unclosed:
            log.warning("docker.host_not_closed", message=self.unclosed)

    def _restore(self) -> None:
        """Remove containers of this executor that are not in use, and create the network with its rules."""
        for container in self.client.containers.list(
            all=True, filters={"label": f"{LABEL}={self.label}"}, ignore_removed=True
        ):
            if container.name not in self._names:
                log.info("docker.container_left_behind", container=container.name)
                _remove(container)
        name = self._ensure_network()
        self.unclosed = unclosable(name)
        if not self.unclosed:
            close_host(name, self._config.network_allow, self._config.network_closed)

    def _ensure_network(self) -> str:
        """Create the network of functions if it is missing; return its bridge's name. Raises NetworkUnusable."""
        name = self._config.docker_network
        found = self.client.networks.list(names=[f"^{re.escape(name)}$"])
        if not found:
            options = {SEPARATED_OPTION: "false", **({BRIDGE_OPTION: BRIDGE} if name == NETWORK else {})}
            found = [self.client.networks.create(name, driver="bridge", options=options, check_duplicate=True)]
        options = found[0].attrs.get("Options") or {}
        if options.get(SEPARATED_OPTION) != "false":
            raise NetworkUnusable(
                f"The network {name} lets functions reach each other. Remove it, and the executor creates it again, or"
                f" create it as a bridge with the option {SEPARATED_OPTION}=false."
            )
        return str(options.get(BRIDGE_OPTION) or f"br-{str(found[0].id)[:12]}")

    async def _tidy(self) -> None:
        """After every failure, remove leftovers until the engine has answered for a while."""
        loop = asyncio.get_running_loop()
        while True:
            await self._troubled.wait()
            until = loop.time() + QUIET_SECONDS
            while loop.time() < until:
                self._troubled.clear()
                await asyncio.sleep(TIDY_SECONDS)
                try:
                    await self.call(self._restore)
                except StartFailed:
                    until = loop.time() + QUIET_SECONDS
                    continue
                if self._troubled.is_set():
                    until = loop.time() + QUIET_SECONDS

    def _run(self, image: str, options: dict[str, Any], addressed: bool) -> StartedContainer:
        """Start a container with three requests, four if it needs an address: each request takes some milliseconds."""
        from docker.errors import APIError  # noqa: PLC0415 heavy, and only where docker is used
        from docker.types import LogConfig  # noqa: PLC0415
        from docker.utils.socket import frames_iter  # noqa: PLC0415

        options = options | {"log_config": LogConfig(type=LogConfig.types.JSON, config={"max-size": "1m"})}
        container = None
        try:
            created = _ids_only()(client=self.client).create(image, **options)
            container = self.client.containers.prepare_model(created.attrs)
            attached = container.attach_socket(params=_ALL_OUTPUT)
            container.start()
            if addressed:
                container.reload()
        except APIError as refused:
            if container is not None:
                _remove(container)
            raise StartFailed(f"The container could not be started: {refused}") from refused
        networks = container.attrs["NetworkSettings"]["Networks"] if addressed else {}
        frames: Any = frames_iter
        output = (piece for _, piece in frames(attached, options.get("tty", False)))
        address = networks.get(self._config.docker_network, {}).get("IPAddress", "")
        return StartedContainer(container, output, address)


def _remove(container: "Container") -> None:
    """Remove a container, unless its removal has begun already. Blocking."""
    from docker.errors import APIError  # noqa: PLC0415 heavy, and only where docker is used

    try:
        container.remove(force=True, v=True)
    except APIError as refused:
        if not refused.is_client_error():
            raise


@cache
def _ids_only() -> type["ContainerCollection"]:
    """Return a collection that creates containers without a further request for their attributes."""
    from docker.models.containers import ContainerCollection  # noqa: PLC0415 heavy, and only where docker is used

    class IdsOnly(ContainerCollection):
        def get(self, container_id: str) -> "Container":
            return self.prepare_model({"Id": container_id})

    return IdsOnly


@cache
def engine_failures() -> tuple[type[Exception], ...]:
    """Return the exceptions that the client raises if the engine does not answer, breaks off, or fails."""
    from docker.errors import DockerException  # noqa: PLC0415 heavy, and only where docker is used
    from docker.utils.socket import SocketError  # noqa: PLC0415
    from requests.exceptions import RequestException  # noqa: PLC0415
    from urllib3.exceptions import HTTPError  # noqa: PLC0415

    return cast("tuple[type[Exception], ...]", (DockerException, SocketError, RequestException, HTTPError))


def label_of(work: Path) -> str:
    """Return the value of LABEL on containers of the executor with this work folder."""
    return hashlib.sha256(os.fsencode(work)).hexdigest()[:16]


def connect(host: str = "", timeout: int = 60) -> "DockerClient":
    """Connect to the engine at `host`, DOCKER_HOST or the default address. Raises docker.errors.DockerException."""
    import docker  # noqa: PLC0415 heavy, and only where docker is used

    client = docker.DockerClient(base_url=host, timeout=timeout) if host else docker.from_env(timeout=timeout)
    client.ping()
    return client


def own_images(client: "DockerClient") -> list[str]:
    """Return the runtime ids that our images on this engine serve. Blocking."""
    tags = [tag for image in client.images.list(filters={"label": OWN}) for tag in image.tags]
    return [tag.removeprefix("annals/").replace(":", "-") for tag in tags if tag.startswith("annals/")]


def engine_problem(config: ExecutorConfig) -> str:
    """Return why docker cannot serve functions here, as a sentence; empty if it can. Blocking."""
    from docker.errors import DockerException  # noqa: PLC0415 heavy, and only where docker is used

    try:
        client = connect(config.docker_host, timeout=5)
        images = own_images(client)
        client.close()
    except (DockerException, OSError) as failure:
        return f"No container engine answers: {str(failure)[:200]}"
    if not images and not config.images:
        return "A container engine answers, but has no images for functions: build them with `annals images build`."
    return ""

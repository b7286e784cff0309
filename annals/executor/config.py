"""The configuration of an executor, which is built from the settings."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import msgspec

from annals.domain.ports import IDLE_POOL, PASSTHROUGH, Limits

DriverName = Literal["auto", "sandbox", "docker"]
NetworkMode = Literal["host", "isolated"]


class Tls(msgspec.Struct, frozen=True, kw_only=True):
    """Files for mutual TLS between hosts: certificate, key, and the authority that both ends trust."""

    certificate: str
    key: str
    authority: str


class OpenRuntimesConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Address and secret of the Open Runtimes API, and the store in which paths of requests are keys."""

    host: str
    port: int
    secret: str
    storage: str

    def __repr__(self) -> str:
        return f"Facade({self.host}:{self.port})"


class ExecutorConfig(msgspec.Struct, frozen=True, kw_only=True):
    """One executor. Sizes are in bytes, times in seconds.

    `data` is the folder of installed runtimes, `work` a folder whose content may be lost. `listen` is `unix:/path` or
    `tcp:host:port`; TCP needs `tls`. `allow` lists the runtime ids to serve, empty for all. `bwrap` is the sandbox
    driver's program, empty to choose one. The docker driver runs functions in `docker_network`, and checks at its start
    that they reach `api_url`, unless it is empty. `images` maps runtime ids to images of the docker driver.
    `network_allow` lists ports of the host that isolated sandboxes and containers may call, `network_closed` other
    hosts' ports that they may not. `idle_pool` maps runtimes to the number of idle instances kept from the start, and
    `*` to the number for each other runtime in use; the docker driver starts them with the `usual` limits, the
    default of functions. With `has_agent`, instances take commands beside requests.
    `open_runtimes` says where other control planes are served, if they are.
    """

    data: Path
    work: Path
    blobs_url: str
    listen: str
    driver: DriverName = "auto"
    bwrap: str = ""
    network: NetworkMode = "host"
    network_allow: tuple[int, ...] = ()
    network_closed: tuple[tuple[str, int], ...] = ()
    images: dict[str, str] = {}
    allow: tuple[str, ...] = ()
    passthrough: tuple[str, ...] = PASSTHROUGH
    docker_host: str = ""
    docker_network: str = "annals"
    api_url: str = ""
    tls: Tls | None = None
    idle_seconds: float = 300.0
    grace_seconds: float = 2.0
    instances: int = 64
    instances_per_function: int = 8
    executions: int = 256
    executions_per_project: int = 192
    idle_pool: Mapping[str, int] = IDLE_POOL
    usual: Limits = Limits(cpus=1, memory_mb=512)
    builds: int = 4
    log_limit_bytes: int = 32 * 1024 * 1024
    response_limit_bytes: int = 20 * 1024 * 1024
    code_cache_bytes: int = 4 * 1024**3
    tmp_bytes: int = 256 * 1024 * 1024
    pids: int = 256
    build_pids: int = 1024
    build_disk_bytes: int = 4 * 1024**3
    build_write_bytes_s: int = 16 * 1024**2
    build_cache_bytes: int = 8 * 1024**3
    project_cache_bytes: int = 1024**3
    has_agent: bool = False
    open_runtimes: OpenRuntimesConfig | None = None

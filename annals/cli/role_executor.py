"""`annals executor`: the one process of a host that runs users' code."""

import asyncio
from pathlib import Path
from urllib.parse import urlsplit

import click

from annals.cli.executor_client import tls
from annals.cli.foreground import json_logs, run
from annals.domain.catalogue import default_specification
from annals.domain.ports import Limits
from annals.executor.config import ExecutorConfig, OpenRuntimesConfig
from annals.executor.service.main import serve
from annals.executor.wire.client import ExecutorClient
from annals.settings import Invalid, Settings
from annals.store.postgres.conninfo import Host, hosts
from annals.supervisor.notify import notify

SECRET_CHARACTERS = 16
LOOK_SECONDS = 2.0
"""How often `annals ps` learns what the executor does."""


@click.command()
@json_logs
def executor(json_logs: bool) -> None:
    """Run this host's executor process, configured by settings alone."""
    run("executor", _serve, json_logs=json_logs)


async def _serve(settings: Settings) -> None:
    config = configured(settings)
    facade = None
    if config.open_runtimes:
        from annals.executor.open_runtimes.main import OpenRuntimesServer  # noqa: PLC0415 - it imports Litestar

        facade = OpenRuntimesServer
    await serve(config, facade=facade, meanwhile=lambda: _look(ExecutorClient([config.listen], config.tls)))


async def _look(client: ExecutorClient) -> None:
    """Ask the port as any caller would, and tell the supervisor: ready means that it answers."""
    seconds = 0.1
    while True:
        for status in (await client.status()).values():
            if not isinstance(status, str):
                work = ", ".join(f"{count} {kind}" for kind, count in status.work.items() if count)
                notify(READY="1", STATUS=work or "idle", X_DRIVER=status.driver)
                seconds = LOOK_SECONDS
        await asyncio.sleep(seconds)


def configured(settings: Settings) -> ExecutorConfig:
    """The executor's part of the settings."""
    return ExecutorConfig(
        data=settings.folder,
        work=settings.folder / "work",
        blobs_url=settings.blobs,
        listen=settings.executor_listen or f"unix:{settings.folder / 'run' / 'executor.sock'}",
        driver=settings.driver,
        bwrap=settings.bwrap,
        network=settings.sandbox_network,
        network_allow=_api_ports(settings),  # functions may call the API, nothing else of the host
        network_closed=_services(settings),
        images=settings.images,
        allow=settings.runtimes,
        passthrough=settings.build_env_passthrough,
        docker_host=settings.docker_host,
        docker_network=settings.docker_network,
        api_url=settings.functions_api_url,
        tls=tls(settings),
        open_runtimes=open_runtimes(settings),
        idle_pool=settings.reserve,
        usual=_usual(settings),
        log_limit_bytes=settings.log_limit_bytes,
        build_write_bytes_s=settings.build_write_bytes_s,
        idle_seconds=float(settings.idle_timeout_s),
        executions=settings.host_executions,
        executions_per_project=settings.share_of(settings.host_executions),
    )


def open_runtimes(settings: Settings) -> OpenRuntimesConfig | None:
    """Where other control planes are served, when that is set. Raises Invalid."""
    if not settings.facade_listen:
        return None
    host, _, port = settings.facade_listen.rpartition(":")
    if not (host and port.isdecimal() and int(port) < 65_536):
        raise Invalid(f"ANNALS_FACADE_LISTEN is host:port, as in 127.0.0.1:9900, not {settings.facade_listen!r}.")
    try:
        secret = Path(settings.facade_secret_file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        raise Invalid("ANNALS_FACADE_SECRET_FILE must name a file with the façade's secret.") from None
    if len(secret) < SECRET_CHARACTERS:
        raise Invalid(f"The secret in ANNALS_FACADE_SECRET_FILE needs {SECRET_CHARACTERS} characters or more.")
    storage = settings.facade_storage_url or str(settings.folder / "facade")
    return OpenRuntimesConfig(host=host.strip("[]"), port=int(port), secret=secret, storage=storage)


def _usual(settings: Settings) -> Limits:
    """The size of functions that were created without one."""
    size = default_specification(settings.specifications())
    return Limits(cpus=size.cpus, memory_mb=size.memory)


def _api_ports(settings: Settings) -> tuple[int, ...]:
    """Return the ports of this host at which functions may call the API."""
    ports = {settings.port} if settings.port else set()
    if settings.functions_api_url:
        url = urlsplit(settings.functions_api_url)
        ports.add(url.port or (443 if url.scheme == "https" else 80))
    return tuple(sorted(ports))


def _services(settings: Settings) -> tuple[tuple[str, int], ...]:
    """Return the addresses of the control plane's services that this process knows; functions must not reach them."""
    queue = urlsplit(settings.redis_url)
    listening = [*hosts(settings.database_url)] if settings.database_url else []
    if queue.hostname:
        listening.append(Host(queue.hostname, queue.port or 6379))
    return tuple((host.name, host.port) for host in listening if not host.name.startswith(("/", "@")))

"""`annals doctor`: what this machine can do, by trying; every failing line says the next step."""

import asyncio
import os
import platform
import shutil
import sys
from pathlib import Path

import click

from annals.cli import doctor_service
from annals.cli.options import answer, chosen, data_option, json_option
from annals.cli.role_executor import configured
from annals.domain.catalogue import Specification, default_specification
from annals.executor.service import doctor as executor_doctor
from annals.executor.service.doctor import HostCheck
from annals.http.listening import Unavailable, listen
from annals.settings import Invalid, Settings, read
from annals.store.errors import UrlInvalid
from annals.supervisor.folders import Folders
from annals.supervisor.launch import closed_ancestor
from annals.supervisor.wheels import Unusable, postgres, valkey

LEAST_FREE = 2 * 1024**3
"""Bytes that a first start, a few runtimes and builds need."""


@click.command()
@data_option
@json_option
def doctor(data: Path | None, as_json: bool) -> None:
    """Check Python, services, disk, port, drivers and limits; the exit code is 0 when nothing is in the way."""
    settings = chosen(data=data)
    folders = Folders(settings.folder)
    running = folders.running()
    if running is not None:
        settings = read(running.settings)
    found = [_python(), *_folder(settings, folders)]
    found += [_port(settings)] if running is None else [_runs(running.pid, running.endpoint)]
    found += [*_embedded(settings), *asyncio.run(_driver_checks(settings))]
    good = all(check.ok for check in found)
    answer({"ok": good, "checks": found}, as_json, lambda: "\n".join(line for check in found for line in _lines(check)))
    sys.exit(0 if good else 1)


async def _driver_checks(settings: Settings) -> list[HostCheck]:
    services = await doctor_service.checks(settings)
    size = size_check(
        default_specification(settings.specifications()), cores=os.cpu_count() or 1, memory_mib=_memory_mib()
    )
    try:
        config = configured(settings)
    except (Invalid, UrlInvalid) as error:
        unusable = HostCheck(name="executor", ok=False, detail="cannot start with these settings", fix=str(error))
        return [*services, size, unusable]
    return [*services, size, *await executor_doctor.checks(config)]


def _python() -> HostCheck:
    good = sys.version_info >= (3, 11)
    detail = f"{platform.python_version()} ({sys.executable}), {platform.system()} {platform.machine()}"
    return HostCheck(name="python", ok=good, detail=detail, fix="" if good else "Use Python 3.11 or newer.")


def _folder(settings: Settings, folders: Folders) -> list[HostCheck]:
    """The data folder may be missing yet; then what counts is the nearest folder above that is there."""
    folder = folders.data
    while not folder.exists():
        folder = folder.parent
    writable = os.access(folder, os.W_OK | os.X_OK)
    free = shutil.disk_usage(folder).free
    found = [
        HostCheck(
            name="data folder",
            ok=writable,
            detail=f"{folders.data}, {'writable' if writable else f'{folder} is not writable'}",
            fix="" if writable else "Choose another folder with --data or ANNALS_DATA.",
        ),
        HostCheck(
            name="disk space",
            ok=free >= LEAST_FREE,
            detail=f"{free / 1024**3:.1f} GiB free",
            fix="" if free >= LEAST_FREE else f"Free some: at least {LEAST_FREE // 1024**3} GiB are needed.",
        ),
    ]
    uid = folders.service_uid
    closed = closed_ancestor(str(folder), uid) if uid is not None and not settings.database_url else None
    if closed is not None:
        detail = f"{closed} is closed to the user {uid} that Postgres runs as: it gets a private view (mount namespace)"
        found.append(HostCheck(name="data folder's way", ok=True, detail=detail))
    return found


def _port(settings: Settings) -> HostCheck:
    try:
        listen(settings.host, settings.port).close()
    except Unavailable as error:
        return HostCheck(name="port", ok=False, detail=f"{settings.host}:{settings.port}", fix=str(error))
    return HostCheck(name="port", ok=True, detail=f"{settings.host}:{settings.port} is free")


def _runs(pid: int, endpoint: str) -> HostCheck:
    return HostCheck(name="instance", ok=True, detail=f"runs as pid {pid} at {endpoint}")


def _embedded(settings: Settings) -> list[HostCheck]:
    """The wheels' programs, where no server of one's own is named."""
    found = []
    for name, url, find in (("postgres", settings.database_url, postgres), ("valkey", settings.redis_url, valkey)):
        if url:
            continue
        try:
            found.append(
                HostCheck(name=f"embedded {name}", ok=True, detail=f"{(programs := find()).name} ({programs.root})")
            )
        except Unusable as error:
            found.append(HostCheck(name=f"embedded {name}", ok=False, detail="is missing", fix=str(error)))
    return found


def size_check(specification: Specification, *, cores: int, memory_mib: int) -> HostCheck:
    """What the default size of a function means on a host with so many cores and so much memory."""
    size = f"{specification.slug} ({specification.cpus:g} vCPU, {specification.memory} MB)"
    host = f"this host has {cores} cores and {memory_mib} MB"
    if specification.cpus <= cores and specification.memory <= memory_mib:
        return HostCheck(name="default size", ok=True, detail=f"{size}; {host}")
    return HostCheck(
        name="default size",
        ok=True,
        detail=f"{size}; {host}. A size is a limit and reserves nothing: a function gets at most"
        " what the host has, and a memory limit beyond the host's holds nothing back",
        fix="To offer only sizes that fit this host, set ANNALS_SPECIFICATION_MAX_CPUS and"
        " ANNALS_SPECIFICATION_MAX_MEMORY_MB.",
    )


def _memory_mib() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 1024**2


def _lines(check: HostCheck) -> list[str]:
    sign = click.style("✓", fg="green") if check.ok else click.style("✗", fg="red")
    if check.absent:
        sign = click.style("–", dim=True)
    lines = [f"{sign} {check.name:<20} {check.detail}"]
    return [*lines, f"  {'':<20} → {check.fix}"] if check.fix else lines

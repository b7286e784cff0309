"""`annals doctor`: what this machine can do, by trying; every failing line says the next step.

It also asks the services: is the database durable, does the queue answer, are blobs reachable?
"""

import asyncio
import os
import platform
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click
import psycopg
import redis.asyncio as redis

from annals.cli.options import ANSWER_SECONDS, answer, chosen, instance_options
from annals.cli.role_executor import configured
from annals.domain.catalogue import Specification, default_specification
from annals.executor.service import doctor as executor_doctor
from annals.executor.service.doctor import HostCheck
from annals.http.listening import Unavailable, listen
from annals.settings import Invalid, Settings, read
from annals.store.content.blobs import BlobError, BlobMissing, Blobs
from annals.store.errors import UrlInvalid
from annals.store.postgres.conninfo import conninfo
from annals.supervisor.folders import Folders
from annals.supervisor.launch import closed_ancestor
from annals.supervisor.wheels import Unusable, postgres, valkey

LEAST_FREE = 2 * 1024**3
"""Bytes that a first start, a few runtimes and builds need."""

OLDEST_POSTGRES = 17
DURABLE = ("fsync", "synchronous_commit", "full_page_writes")
_STOPPED = "SELECT name, error FROM checkpoints WHERE error <> '' ORDER BY name"
_SETTINGS = "SELECT name, setting FROM pg_settings WHERE name = ANY(%s)"
_STANDBYS = "synchronous_standby_names"
_WAITING = (
    "SELECT count(*) FROM pg_stat_activity"
    " WHERE wait_event = 'SyncRep' AND query_start < clock_timestamp() - interval '1 second'"
)


@click.command()
@instance_options
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
    services = await service_checks(settings)
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


async def service_checks(settings: Settings) -> list[HostCheck]:
    """Ask the services that the settings name, all at once; what is embedded and not running is left out."""
    asked = [_blobs(settings)]
    if settings.database_url:
        asked.append(_postgres(settings.database_url))
    if settings.redis_url:
        asked.append(_queue(settings.redis_url))
    return [check for found in await asyncio.gather(*asked) for check in found]


async def _postgres(url: str) -> Sequence[HostCheck]:
    try:
        connecting = psycopg.AsyncConnection.connect(conninfo(url, "annals doctor"), autocommit=True)
        async with asyncio.timeout(ANSWER_SECONDS), await connecting as conn:
            version = conn.info.server_version // 10000
            found: dict[str, str] = dict(await (await conn.execute(_SETTINGS, ([*DURABLE, _STANDBYS],))).fetchall())
            waiting = await (await conn.execute(_WAITING)).fetchone()
            stopped = await _stopped(conn)
    except UrlInvalid as error:
        return [HostCheck(name="postgres", ok=False, detail="has no address", fix=str(error))]
    except (psycopg.OperationalError, TimeoutError) as error:
        fix = "Start the server (again, where it hangs); ANNALS_DATABASE_URL must name it, its user and its database."
        return [HostCheck(name="postgres", ok=False, detail=_silence(error), fix=fix)]
    return [_version(version), durability(found), standby(found, waiting[0] if waiting else 0), followers(stopped)]


async def _stopped(conn: psycopg.AsyncConnection[Any]) -> dict[str, str]:
    """Followers that stand still, and why; none before the first start made their table."""
    try:
        return dict(await (await conn.execute(_STOPPED)).fetchall())
    except psycopg.errors.UndefinedTable:
        return {}


def followers(stopped: dict[str, str]) -> HostCheck:
    """Whether everything that follows the log goes on."""
    return HostCheck(
        name="followers",
        ok=not stopped,
        detail="; ".join(stopped.values())[:500] or "none stands still",
        fix="Mend the cause, or run the version that knows the event; then start the keeper again." if stopped else "",
    )


def _version(version: int) -> HostCheck:
    return HostCheck(
        name="postgres",
        ok=version >= OLDEST_POSTGRES,
        detail=f"answers, version {version}",
        fix="" if version >= OLDEST_POSTGRES else f"Use PostgreSQL {OLDEST_POSTGRES} or newer.",
    )


def durability(found: dict[str, str]) -> HostCheck:
    """Whether an answered command survives a power cut, by the server's own settings."""
    weak = [name for name in DURABLE if found.get(name, "off") == "off"]
    return HostCheck(
        name="postgres durability",
        ok=not weak,
        detail=", ".join(f"{name}={found.get(name, 'unknown')}" for name in DURABLE),
        fix=f"Turn on {', '.join(weak)} (ALTER SYSTEM SET … = on): else a crash loses answered commands."
        if weak
        else "",
    )


def standby(found: dict[str, str], waiting: int) -> HostCheck:
    """What a failover may lose, and whether it keeps writes from being answered; `waiting` are commits that wait."""
    names, commit = found.get(_STANDBYS, ""), found.get("synchronous_commit", "unknown")
    fix = ""
    if not names:
        detail = "none is waited for: a failover may lose what was answered last"
    elif commit not in {"on", "remote_apply"}:
        detail = f"synchronous_commit={commit}: a failover to {names} may lose what was answered last"
        fix = "Set synchronous_commit to on: else commits do not wait until a standby has them on disk."
    elif waiting:
        detail = f"{waiting} commits wait for {names}, and writes are answered 503"
        fix = f"Bring a synchronous standby back, or empty {_STANDBYS} to go on without one."
    else:
        detail = f"commits wait for {names}: a failover to it loses nothing that was answered"
    return HostCheck(name="postgres standby", ok=not fix, detail=detail, fix=fix)


async def _queue(url: str) -> Sequence[HostCheck]:
    client = redis.Redis.from_url(url)
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            await client.ping()
            policy = (await client.config_get("maxmemory-policy")).get("maxmemory-policy", "unknown")
    except (redis.RedisError, OSError) as error:
        fix = "Start the server (again, where it hangs); ANNALS_REDIS_URL must name it."
        return [HostCheck(name="queue", ok=False, detail=_silence(error), fix=fix)]
    finally:
        await client.aclose()
    good = policy in {"noeviction", "unknown"}
    return [
        HostCheck(
            name="queue",
            ok=good,
            detail=f"answers, maxmemory-policy {policy}",
            fix=""
            if good
            else "Set maxmemory-policy to noeviction: else waiting work is forgotten until it is noticed.",
        )
    ]


def _silence(error: Exception) -> str:
    reason = str(error).strip() or f"nothing came within {ANSWER_SECONDS:g} s"
    return f"does not answer: {reason}"


def _not_made_yet(url: str) -> bool:
    return url.startswith("file:") and not Path(urlsplit(url).path).exists()


async def _blobs(settings: Settings) -> Sequence[HostCheck]:
    if _not_made_yet(settings.blobs):
        return [HostCheck(name="blobs", ok=True, detail=f"{settings.blobs}, made at the first start")]
    try:
        store = await asyncio.to_thread(Blobs.open, settings.blobs)
        await store.head("doctor/none")
    except BlobMissing:
        return [HostCheck(name="blobs", ok=True, detail=settings.blobs)]
    except (BlobError, OSError, ValueError) as error:
        fix = "See that ANNALS_BLOBS_URL names a folder or bucket that this user may read and write."
        return [HostCheck(name="blobs", ok=False, detail=f"{settings.blobs}: {error}", fix=fix)]
    return [HostCheck(name="blobs", ok=True, detail=settings.blobs)]

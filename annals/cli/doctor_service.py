"""What `annals doctor` asks of the services: is the database durable, does the queue answer, are blobs reachable."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import redis.asyncio as redis

from annals.executor.service.doctor import HostCheck
from annals.settings import Settings
from annals.store.content.blobs import BlobError, BlobMissing, Blobs
from annals.store.errors import UrlInvalid
from annals.store.postgres.conninfo import conninfo

OLDEST_POSTGRES = 17
ANSWER_SECONDS = 5.0
"""How long a service may take for all that it is asked: then it hangs."""

DURABLE = ("fsync", "synchronous_commit", "full_page_writes")
_STOPPED = "SELECT name, error FROM checkpoints WHERE error <> '' ORDER BY name"
_SETTINGS = "SELECT name, setting FROM pg_settings WHERE name = ANY(%s)"
_STANDBYS = "synchronous_standby_names"
_WAITING = (
    "SELECT count(*) FROM pg_stat_activity"
    " WHERE wait_event = 'SyncRep' AND query_start < clock_timestamp() - interval '1 second'"
)


async def checks(settings: Settings) -> list[HostCheck]:
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

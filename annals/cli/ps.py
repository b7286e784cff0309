"""`annals ps`: every process of an instance, on this machine and on others, and what it does now."""

import asyncio
import socket
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import msgspec
import psycopg
import redis.asyncio as redis
from psycopg.rows import dict_row

from annals.cli.options import ANSWER_SECONDS, absent, answer, chosen, instance_options, table
from annals.settings import Settings, read
from annals.store.coordination.leases import QUERIES, Holder
from annals.store.errors import UrlInvalid
from annals.store.postgres.conninfo import conninfo
from annals.supervisor.folders import Folders, start_ticks

COLUMNS = ("role", "pid", "host", "uptime", "state", "restarts", "doing")


class Row(msgspec.Struct, kw_only=True):
    """One process; `state` is empty for one of another host, which tells by its lease alone."""

    role: str
    pid: int
    host: str
    started_at: str
    state: str
    restarts: int
    doing: str


@click.command()
@instance_options
def ps(data: Path | None, as_json: bool) -> None:
    """Show each process with its role, pid, host, uptime and what it does now."""
    settings = chosen(data=data)
    folders = Folders(settings.folder)
    running = folders.running()
    if running is not None:
        settings = read(running.settings)
    if running is None and not settings.database_url:
        raise click.ClickException(absent(folders, "or name its folder with --data"))
    holders, unanswered = asyncio.run(_asked(settings))
    rows = merged(_local(folders), holders, socket.gethostname())
    shown = [table([_shown(row) for row in rows], COLUMNS), *(_silence(name) for name in unanswered)]
    answer({"processes": rows, "unanswered": unanswered}, as_json, lambda: "\n".join(shown))


def merged(rows: list[Row], holders: list[Holder], host: str) -> list[Row]:
    """Supervised processes with what they say of themselves, then those that the supervisor here does not know.

    A lease of this host whose process is gone is left out: it only waits for its work to be taken back.
    """
    known = {(row.host, row.pid): row for row in rows}
    for holder in holders:
        row = known.get((holder.host, holder.pid))
        if row is not None:
            row.doing = holder.doing or row.doing
        elif holder.host != host or start_ticks(holder.pid) is not None:
            started = holder.started_at.isoformat(timespec="seconds")
            rows.append(
                Row(
                    role=holder.role,
                    pid=holder.pid,
                    host=holder.host,
                    started_at=started,
                    state="",
                    restarts=0,
                    doing=holder.doing,
                )
            )
    return rows


def _local(folders: Folders) -> list[Row]:
    host = socket.gethostname()
    return [
        Row(
            role=process.role,
            pid=process.pid,
            host=host,
            started_at=process.started_at,
            state=process.state,
            restarts=process.restarts,
            doing=process.doing,
        )
        for process in folders.processes()
        if start_ticks(process.pid) == process.ticks
    ]


async def _asked(settings: Settings) -> tuple[list[Holder], list[str]]:
    """What the leases say, and which services did not answer: one that hangs must not keep the rest from view."""
    asked = {"postgres": _in_time(_holders(settings.database_url))}
    if settings.redis_url:
        asked["queue"] = _in_time(_pinged(settings.redis_url))
    answers = dict(zip(asked, await asyncio.gather(*asked.values()), strict=True))
    return answers["postgres"] or [], [name for name, answered in answers.items() if answered is None]


async def _in_time(asked: Coroutine[Any, Any, list[Holder]]) -> list[Holder] | None:
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            return await asked
    except (psycopg.OperationalError, UrlInvalid, redis.RedisError, OSError):  # a timeout is one of the last
        return None


async def _holders(url: str) -> list[Holder]:
    connecting = psycopg.AsyncConnection.connect(conninfo(url, "annals ps"), autocommit=True, row_factory=dict_row)
    async with await connecting as conn:
        try:
            return [Holder(**row) for row in await (await conn.execute(QUERIES["holders"])).fetchall()]
        except psycopg.errors.UndefinedTable:  # before the first start made it
            return []


async def _pinged(url: str) -> list[Holder]:
    """Nothing, once the queue has answered."""
    async with redis.Redis.from_url(url) as client:
        await client.ping()
    return []


def _silence(name: str) -> str:
    return f"{name} does not answer. `annals doctor` says what to do."


def _shown(row: Row) -> dict[str, object]:
    return {**msgspec.structs.asdict(row), "uptime": uptime(datetime.now(UTC) - datetime.fromisoformat(row.started_at))}


def uptime(passed: timedelta) -> str:
    """`3 d 4 h`, `12 min`, `8 s`: the two largest units that matter."""
    seconds = int(passed.total_seconds())
    days, hours, minutes = seconds // 86400, seconds % 86400 // 3600, seconds % 3600 // 60
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {seconds % 60} s" if minutes else f"{seconds} s"

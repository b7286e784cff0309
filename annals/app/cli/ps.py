"""`annals ps`: every process of an instance, on this machine and on others, and what it does now."""

import asyncio
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
import msgspec

from annals.app.cli.folders import Folders, start_ticks
from annals.app.cli.options import answer, chosen, data_option, json_option, table
from annals.app.settings import read
from annals.store.database import Database
from annals.store.errors import StoreError
from annals.store.leases import Holder, Leases

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
@data_option
@json_option
def ps(data: Path | None, as_json: bool) -> None:
    """Show each process with its role, pid, host, uptime and what it does now."""
    settings = chosen(data=data)
    folders = Folders(settings.folder)
    running = folders.running()
    if running is not None:
        settings = read(running.settings)
    if running is None and not settings.database_url:
        raise click.ClickException(
            f"No instance runs on {settings.folder}. Start one with `annals up`, or name its folder with --data."
        )
    rows = merged(_local(folders), asyncio.run(_holders(settings.database_url)), socket.gethostname())
    answer({"processes": rows}, as_json, lambda: table([_shown(row) for row in rows], COLUMNS))


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


async def _holders(url: str) -> list[Holder]:
    """What the leases say; nothing while the database can't be asked, for then the rest matters all the more."""
    try:
        database = await Database.open(url, size=1, name="annals ps", patience=2)
    except StoreError:
        return []
    try:
        return await Leases(database).holders()
    finally:
        await database.close()


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

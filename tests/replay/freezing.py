"""Frozen logs of released versions; `python -m tests.replay.freezing 0.1.0` freezes this version.

A frozen log is an export of everything. A file beside it holds, for each table of a read model, its columns, the
number of rows, and their digest. Later versions may add columns, but must fold the frozen ones to the same rows.
"""

import asyncio
import hashlib
import json
import random
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from annals.projections import inline
from annals.projections.following import FOLLOWING
from annals.store.portable.export import ExportSelection
from annals.store.postgres.database import Database
from annals.store.postgres.migrate import migrate
from tests.integration.portable.instances import Instance
from tests.integration.postgres import Postgres
from tests.replay.histories import BEGINNING, Actor, any_step

FROZEN = Path(__file__).parent / "frozen"
TABLES = (*inline.TABLES, *(table for following in FOLLOWING.values() for table in following.tables))
STEPS = 1500
WHOLE = ExportSelection(contents=True)

Sums = dict[str, dict[str, Any]]


def versions() -> list[str]:
    """Return the released versions that have a frozen log."""
    return sorted(path.name.removesuffix(".ndjson.zst") for path in FROZEN.glob("*.ndjson.zst"))


def log_of(version: str) -> Path:
    return FROZEN / f"{version}.ndjson.zst"


def sums_of(version: str) -> Sums:
    """Return the columns, rows and digests of a frozen log."""
    read: Sums = json.loads((FROZEN / f"{version}.json").read_text())
    return read


async def sums(database: Database, columns: dict[str, list[str]]) -> Sums:
    """Return the number of rows and the digest of some columns of each table; the order of rows does not count."""
    return {table: await _sum(database, table, names) for table, names in columns.items()}


async def columns_of(database: Database, tables: Iterable[str] = TABLES) -> dict[str, list[str]]:
    """Return the columns of tables, in alphabetical order."""
    query = (
        "SELECT table_name, column_name FROM information_schema.columns"
        " WHERE table_schema = 'public' AND table_name = ANY(%s) ORDER BY table_name, column_name"
    )
    found: dict[str, list[str]] = {}
    for row in await database.rows(query, (list(tables),)):
        found.setdefault(row["table_name"], []).append(row["column_name"])
    return found


async def _sum(database: Database, table: str, columns: list[str]) -> dict[str, Any]:
    chosen = ", ".join(f't."{name}"::text' for name in columns)
    query = f"SELECT jsonb_build_array({chosen})::text AS row FROM {table} t"  # noqa: S608 - names of our own
    rows = sorted(row["row"] for row in await database.rows(query))
    digest = hashlib.sha256("\n".join(rows).encode()).hexdigest()
    return {"columns": columns, "rows": len(rows), "digest": digest}


async def freeze(url: str, folder: Path, version: str) -> None:
    """Record a random history as the replay tests do, and freeze its log and the digests of its rows."""
    chance = random.Random(version)
    async with Instance.opened(url, folder / "instance") as instance:
        await instance.fill()
        actor = Actor(instance.log, "frozen")
        for step in [*BEGINNING, *(any_step(chance) for _ in range(STEPS))]:
            await actor.do(*step)
        await instance.follow()
        log_of(version).unlink(missing_ok=True)
        await instance.export(log_of(version), WHOLE)
        found = await sums(instance.database, await columns_of(instance.database))
    (FROZEN / f"{version}.json").write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")


def main(version: str) -> None:
    server = Postgres()
    server.start()
    try:
        migrate(server.url())
        with tempfile.TemporaryDirectory() as folder:
            asyncio.run(freeze(server.url(), Path(folder), version))
    finally:
        server.close()


if __name__ == "__main__":
    main(sys.argv[1])

"""Migrations: numbered files that bring a database to this program's schema, each applied once."""

import hashlib
import itertools
import re
from collections.abc import Sequence
from importlib.resources import files
from typing import Literal, NamedTuple

import psycopg
from psycopg.rows import tuple_row

from annals.store.errors import MigrationError, StoreUnavailable
from annals.store.postgres import sql
from annals.store.postgres.conninfo import conninfo

QUERIES = sql.load(__package__, "migrate.sql")
LOCK = 4_105_001
"""The advisory lock of the process that migrates."""

OLDEST = 17
"""The oldest supported PostgreSQL: it can end a transaction whose client stopped in the middle of a pipeline."""

_FILE = re.compile(r"^(?P<number>\d{4})_(?P<stage>pre|post)_[a-z0-9_]+\.sql$")


class Migration(NamedTuple):
    """One migration file; `stage` says whether it runs before or after the new code."""

    number: int
    stage: Literal["pre", "post"]
    name: str
    text: str

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()


def available() -> list[Migration]:
    """Return the migrations in order. Raises MigrationError for a wrong file name or a number used twice."""
    found: list[Migration] = []
    for file in files("annals.store").joinpath("migrations").iterdir():
        if not file.name.endswith(".sql"):
            continue
        match = _FILE.match(file.name)
        if match is None:
            raise MigrationError(f"{file.name}: a migration is named NNNN_pre_<what>.sql or NNNN_post_<what>.sql")
        stage: Literal["pre", "post"] = "pre" if match["stage"] == "pre" else "post"
        found.append(Migration(int(match["number"]), stage, file.name, file.read_text("utf-8")))
    found.sort()
    for before, after in itertools.pairwise(found):
        if before.number == after.number:
            raise MigrationError(f"{before.name} and {after.name} have the same number")
    return found


def migrate(
    url: str, *, stage: Literal["pre", "all"] = "all", migrations: Sequence[Migration] | None = None
) -> list[str]:
    """Apply missing migrations and return their names; `stage="pre"` leaves out those that wait for the new code.

    Several processes may call it at once. Raises MigrationError if an applied file was changed or the server is too
    old, StoreUnavailable if the database cannot be reached, and UrlInvalid.
    """
    wanted = available() if migrations is None else migrations
    try:
        with psycopg.connect(conninfo(url, "annals prepare"), autocommit=True, row_factory=tuple_row) as conn:
            if conn.info.server_version < OLDEST * 10_000:
                raise MigrationError(
                    f"PostgreSQL {OLDEST} or newer is needed; this is {conn.info.server_version // 10_000}."
                )
            encoding = conn.info.parameter_status("server_encoding")
            if encoding != "UTF8":
                raise MigrationError(f"The database's encoding is {encoding}. Create it with ENCODING 'UTF8'.")
            conn.execute("SELECT pg_advisory_lock(%s)", (LOCK,))  # ends with the connection
            conn.execute(QUERIES["create_ledger"])
            applied = {number: (name, digest) for number, name, digest in conn.execute(QUERIES["applied"])}
            return [m.name for m in wanted if _apply(conn, m, applied, stage)]
    except psycopg.OperationalError as error:
        raise StoreUnavailable(f"The database cannot be reached: {error}") from error


def _apply(
    conn: psycopg.Connection[tuple[object, ...]],
    migration: Migration,
    applied: dict[object, tuple[object, object]],
    stage: str,
) -> bool:
    if migration.number in applied:
        name, digest = applied[migration.number]
        if digest != migration.digest:
            raise MigrationError(
                f"{migration.name} differs from what was applied as {name}. "
                "An applied migration is never changed: add a new one."
            )
        return False
    if stage == "pre" and migration.stage == "post":
        return False
    with conn.transaction():
        conn.execute(migration.text.encode())
        conn.execute(QUERIES["record"], (migration.number, migration.name, migration.digest))
    return True

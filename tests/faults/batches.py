"""Followers held in the middle of a batch, or at its very end, by locks of the database's own: to be killed there."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from annals.projections.following import FOLLOWING
from annals.store.postgres import sql
from annals.store.proof.sealing import FOLLOWER as SEAL
from tests.instance import AnnalsInstance, eventually

QUERIES = sql.load(__package__, "batches.sql")
TABLES: dict[str, tuple[str, ...]] = {**{name: one.tables for name, one in FOLLOWING.items()}, SEAL: ("seal_tiles",)}
"""What each follower writes to beside its checkpoint, of those that write anything."""


class Held:
    """Followers that stand still by a lock of `conn`."""

    def __init__(self, conn: psycopg.Connection, query: str, followers: set[str]) -> None:
        self._conn, self._query, self._followers = conn, QUERIES[query].encode(), followers
        self._of = {table: name for name, tables in TABLES.items() for table in tables}

    def all(self) -> list[int]:
        """The connections of all of them, once each has come to its lock."""

        def found() -> dict[str, int]:
            rows: list[tuple[str, int]] = self._conn.execute(self._query).fetchall()
            return {self._of.get(what, what): pid for what, pid in rows}

        eventually(lambda: found().keys() >= self._followers, explain=lambda: self._followers - found().keys())
        return [*found().values()]

    def end(self, pids: list[int]) -> None:
        """End connections before their locks are let go, for a statement that was sent is carried out by itself."""
        for pid in pids:
            self._conn.execute("SELECT pg_terminate_backend(%s, 10000)", (pid,))


@contextmanager
def held_in_the_middle(instance: AnnalsInstance) -> Iterator[Held]:
    """Who follows the log may write to its checkpoint, and to nothing else."""
    with psycopg.connect(instance.database_url, autocommit=True) as conn, conn.transaction():
        for tables in TABLES.values():
            conn.execute(f"LOCK TABLE {', '.join(tables)} IN SHARE MODE".encode())
        yield Held(conn, "waiting_writes", {*TABLES})


@contextmanager
def held_at_their_end(instance: AnnalsInstance) -> Iterator[Held]:
    """Who follows the log has done what it does about a batch, and commits nothing of it."""
    with psycopg.connect(instance.database_url, autocommit=True) as conn:
        conn.execute(QUERIES["commits_wait"].encode())
        try:
            yield Held(conn, "waiting_commits", {*TABLES, "relay", "triggers"})
        finally:
            conn.execute(QUERIES["commits_go_on"].encode())

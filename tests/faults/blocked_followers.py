"""Database locks that stop followers in the middle of a batch or at its commit, so that a test can kill them there."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from annals.projections.following import FOLLOWING
from annals.store.postgres import sql
from annals.store.proof.sealing import FOLLOWER as SEAL
from tests.instance import AnnalsInstance, eventually

QUERIES = sql.load(__package__, "blocked_followers.sql")
TABLES: dict[str, tuple[str, ...]] = {
    **{name: follower.tables for name, follower in FOLLOWING.items()},
    SEAL: ("seal_tiles",),
}
"""The tables that each follower writes beside its checkpoint; followers that write none are left out."""


class BlockedFollowers:
    """Followers that wait for a lock of `conn`."""

    def __init__(self, conn: psycopg.Connection, query: str, followers: set[str]) -> None:
        self._conn, self._query, self._followers = conn, QUERIES[query].encode(), followers
        self._by_table = {table: name for name, tables in TABLES.items() for table in tables}

    def wait_for_all(self) -> list[int]:
        """Wait until every follower waits at its lock, and return the pids of their backends."""

        def found() -> dict[str, int]:
            rows: list[tuple[str, int]] = self._conn.execute(self._query).fetchall()
            return {self._by_table.get(name, name): pid for name, pid in rows}

        eventually(lambda: found().keys() >= self._followers, explain=lambda: self._followers - found().keys())
        return [*found().values()]

    def terminate(self, pids: list[int]) -> None:
        """End backends before the locks are released: a backend runs a sent statement even if its client is dead."""
        for pid in pids:
            self._conn.execute("SELECT pg_terminate_backend(%s, 10000)", (pid,))


@contextmanager
def followers_blocked_mid_batch(instance: AnnalsInstance) -> Iterator[BlockedFollowers]:
    """Let followers write their checkpoints only; every other write of theirs waits."""
    with psycopg.connect(instance.database_url, autocommit=True) as conn, conn.transaction():
        for tables in TABLES.values():
            conn.execute(f"LOCK TABLE {', '.join(tables)} IN SHARE MODE".encode())
        yield BlockedFollowers(conn, "waiting_writes", {*TABLES})


@contextmanager
def followers_blocked_at_commit(instance: AnnalsInstance) -> Iterator[BlockedFollowers]:
    """Let followers do all the work of a batch, but not commit it."""
    with psycopg.connect(instance.database_url, autocommit=True) as conn:
        conn.execute(QUERIES["commits_wait"].encode())
        try:
            yield BlockedFollowers(conn, "waiting_commits", {*TABLES, "relay", "triggers"})
        finally:
            conn.execute(QUERIES["commits_go_on"].encode())

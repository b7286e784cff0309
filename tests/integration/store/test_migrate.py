"""Migrations: one process applies each of them once, and an applied migration may not change."""

import threading

import psycopg
import pytest

from annals.store.errors import MigrationError, StoreUnavailable
from annals.store.postgres.migrate import Migration, available, migrate
from tests.integration.postgres import Postgres

FIRST = Migration(1, "pre", "0001_pre_first.sql", "CREATE TABLE first (n int); INSERT INTO first VALUES (1)")
SECOND = Migration(2, "post", "0002_post_second.sql", "UPDATE first SET n = n + 1")
BROKEN = Migration(3, "pre", "0003_pre_broken.sql", "CREATE TABLE half (n int); SELECT 1 / 0")


def value(url: str, sql: str) -> object:
    with psycopg.connect(url) as conn:
        row = conn.execute(sql.encode()).fetchone()
        return None if row is None else row[0]


def test_migrations_are_applied_once_and_in_order(empty_database_url: str) -> None:
    names = [migration.name for migration in available()]

    assert migrate(empty_database_url) == names
    assert migrate(empty_database_url) == []
    assert names[0] == "0001_pre_event_log.sql"


def test_processes_that_start_together_apply_each_once(empty_database_url: str) -> None:
    applied: list[str] = []
    threads = [
        threading.Thread(target=lambda: applied.extend(migrate(empty_database_url, migrations=[FIRST, SECOND])))
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert applied == [FIRST.name, SECOND.name]
    assert value(empty_database_url, "SELECT n FROM first") == 2


def test_post_migrations_wait_for_the_new_code(empty_database_url: str) -> None:
    assert migrate(empty_database_url, stage="pre", migrations=[FIRST, SECOND]) == [FIRST.name]
    assert migrate(empty_database_url, migrations=[FIRST, SECOND]) == [SECOND.name]


def test_file_changed_after_it_was_applied_is_refused(empty_database_url: str) -> None:
    migrate(empty_database_url, migrations=[FIRST])

    with pytest.raises(MigrationError, match="add a new one"):
        migrate(empty_database_url, migrations=[FIRST._replace(text="CREATE TABLE other (n int)")])


def test_failed_migration_leaves_nothing(empty_database_url: str) -> None:
    with pytest.raises(psycopg.errors.DivisionByZero):
        migrate(empty_database_url, migrations=[FIRST, BROKEN])

    assert value(empty_database_url, "SELECT to_regclass('half')") is None
    assert value(empty_database_url, "SELECT max(number) FROM schema_migrations") == 1


def test_unreachable_database_is_reported(postgres: Postgres) -> None:
    with pytest.raises(StoreUnavailable):
        migrate(f"postgresql://annals@/x?host={postgres.folders.data}/nowhere")


def test_database_of_another_encoding_is_refused_before_anything_is_made(postgres: Postgres) -> None:
    postgres.execute("CREATE DATABASE ascii ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0")
    with pytest.raises(MigrationError, match="ENCODING 'UTF8'"):
        migrate(postgres.url("ascii"))
    assert value(postgres.url("ascii"), "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == 0

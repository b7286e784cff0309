"""The SQL views of usage, and the cube that they read."""

import re

import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from annals.projections.replay.replay import check, rebuild
from annals.store.log.log import EventLog
from tests.architecture.source import ROOT
from tests.integration.projections.test_usage_analytics import COUNTED, SHAPE, about, filled_log, follow

__all__ = ["filled_log"]


async def test_rebuild_gives_the_same_cells_and_the_views_read_them(filled_log: EventLog) -> None:
    await follow(filled_log, batch=123)
    compared = await check(filled_log.database, filled_log.reader, ["usage"], report=lambda _: None)
    assert [comparison for comparison in compared if not comparison.same] == []
    assert {c.table: c.live for c in compared}["usage_cells"] > 5000

    await rebuild(filled_log.database, filled_log.reader, ["usage"], report=lambda _: None)

    counted = await filled_log.database.value("SELECT sum(executions) FROM analytics.usage_days")
    assert counted == SHAPE.executions
    share = "SELECT analytics.percentile(sum(durations), 0.95) FROM analytics.usage_hours"
    durations = [recorded_event["took"] for recorded_event in COUNTED if "took" in recorded_event]
    about(await filled_log.database.value(share), durations, 95)


async def test_role_reads_the_views_and_nothing_else(filled_log: EventLog, database_url: str) -> None:
    await follow(filled_log)
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute("SET ROLE annals_analytics")
        for view in ("usage_minutes", "usage_quarters", "usage_hours", "usage_days", "executions", "functions"):
            conn.execute(SQL("SELECT * FROM {} LIMIT 1").format(Identifier("analytics", view)))
        for table in ("events", "usage_cells", "executions", "data_keys", "api_keys"):
            with pytest.raises((psycopg.errors.InsufficientPrivilege, psycopg.errors.UndefinedTable)):
                conn.execute(SQL("SELECT * FROM {} LIMIT 1").format(Identifier("public", table)))
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            conn.execute("UPDATE analytics.functions SET name = 'mine'")


async def test_statements_of_the_documentation_run_as_the_role(filled_log: EventLog, database_url: str) -> None:
    await follow(filled_log)
    statements = re.findall(r"```sql\n(.+?)```", (ROOT / "docs" / "analytics.md").read_text(), re.DOTALL)
    assert statements
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute("SET ROLE annals_analytics")
        for statement in statements:
            conn.execute(statement.encode())

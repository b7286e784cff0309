"""Build slots as Postgres knows them: what all workers hold, and which projects build or wait to build."""

from collections.abc import Sequence

from annals.domain.build_slots import BuildDemand, Tenant
from annals.store.postgres import sql
from annals.store.postgres.database import Database, Row

QUERIES = sql.load(__package__, "build_slots.sql")


async def read_demand(database: Database) -> BuildDemand:
    """The demand of this moment; what starts next is decided anew in the append that claims it."""
    return demand_of(await database.rows(QUERIES["demand"]))


def demand_of(rows: Sequence[Row]) -> BuildDemand:
    """The demand that rows of `demand` tell."""
    tenants = [
        Tenant(row["project_id"], row["running"], row["waiting"], number, row["seconds"])
        for number, row in enumerate(rows)
        if row["project_id"]
    ]
    return BuildDemand(tenants, rows[0]["slots"], rows[0]["reserve"]) if rows else BuildDemand((), 1, 0)

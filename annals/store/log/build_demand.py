"""The demand for build slots, read from Postgres: the slots of all workers, and the projects that build or wait."""

from collections.abc import Sequence

from annals.domain.build_slots import BuildDemand, Tenant
from annals.store.postgres import sql
from annals.store.postgres.database import Database, Row

QUERIES = sql.load(__package__, "build_demand.sql")


async def read_demand(database: Database) -> BuildDemand:
    """Return the present demand. The append that claims a slot reads it again and decides."""
    return demand_of(await database.rows(QUERIES["demand"]))


def demand_of(rows: Sequence[Row]) -> BuildDemand:
    """Return the demand that rows of the query `demand` hold."""
    tenants = [
        Tenant(row["project_id"], row["running"], row["waiting"], number, row["seconds"])
        for number, row in enumerate(rows)
        if row["project_id"]
    ]
    return BuildDemand(tenants, rows[0]["slots"], rows[0]["reserve"]) if rows else BuildDemand((), 1, 0)

"""Queries that read installations and their connected functions. Answers show no secrets.

Only the answer that creates an installation shows the secret of its webhook.
"""

from collections.abc import Mapping
from typing import Any

from msgspec import UNSET, UnsetType

from annals.app.edge.call import Call
from annals.app.queries.page import Page
from annals.app.queries.reading import read_list
from annals.app.queries.schema import schema, text
from annals.app.queries.statements import Sql
from annals.app.reads import Lookup
from annals.app.wire import ResourceModel, encode, joined, wire_date
from annals.domain.errors import InstallationNotFound
from annals.store.postgres import sql
from annals.store.postgres.database import Row

QUERIES = sql.load(__package__, "queries.sql")
ONE = Lookup(QUERIES["installations"], 2)
LIST = schema(
    "installations",
    "installation_id",
    "Installation",
    provider=text("provider"),
    organization=text("organization"),
)


class InstallationModel(ResourceModel, rename="camel", kw_only=True):
    """One installation. `webhookSecret` is only in the answer that creates it."""

    provider: str
    organization: str
    url: str
    app_id: str
    provider_installation_id: str
    webhook_secret: str | UnsetType = UNSET


def present(row: Mapping[str, Any], *, webhook_secret: str | UnsetType = UNSET) -> InstallationModel:
    """Return the model of a row of `installations`."""
    return InstallationModel(
        id=row["installation_id"],
        created_at=wire_date(row["created_at"]),
        updated_at=wire_date(row["updated_at"]),
        provider=row["provider"],
        organization=row["organization"],
        url=row["url"],
        app_id=row["app_id"],
        provider_installation_id=row["provider_installation_id"],
        webhook_secret=webhook_secret,
    )


async def require_installation(call: Call, installation_id: str) -> Row:
    """Return an installation's row. Raises InstallationNotFound."""
    found = await call.services.reads.look_up(ONE, call.project_id, installation_id)
    call.seen(found.position)
    if not found.rows:
        raise InstallationNotFound
    return found.rows[0]


async def read_installations(call: Call, page: Page, *, counted: bool) -> bytes:
    """Return a page of the project's installations as JSON."""
    mine = Sql("project_id = %s", (call.project_id,))
    found = await read_list(call, page, LIST, mine, counted=counted)
    return joined("installations", found.total, [encode(present(row)) for row in found.rows])


async def connected_functions(call: Call, installation_id: str, names: list[str]) -> list[Row]:
    """Return the functions connected to a repository that has one of the names."""
    params = {"project_id": call.project_id, "installation_id": installation_id, "names": names}
    return await call.services.database.rows(QUERIES["connected"], params)

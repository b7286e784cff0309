"""Queries that read projects, their keys and platforms."""

from annals.app.edge.call import Call
from annals.app.projects.schemas import present_key, present_platform, present_project
from annals.app.queries.page import Page
from annals.app.queries.reading import read_page
from annals.app.queries.schema import schema, text
from annals.app.queries.statements import Sql, listing, search
from annals.app.reads import Lookup
from annals.app.wire import encode, joined
from annals.domain.errors import KeyNotFound, PlatformNotFound, ProjectNotFound
from annals.store.postgres import sql
from annals.store.postgres.database import Row

QUERIES = sql.load(__package__, "queries.sql")
ONE = Lookup(QUERIES["projects"], 1)
KEYS = Lookup(QUERIES["keys"], 1)
PLATFORMS = Lookup(QUERIES["platforms"], 1)
LIST = schema("projects", "project_id", "Project", name=text("name"))
_SEARCHED = "project_id || ' ' || name"


async def read_project(call: Call, project_id: str) -> bytes:
    """Return one project as JSON. Raises ProjectNotFound."""
    found = await call.services.reads.look_up(ONE, project_id)
    call.seen(found.position)
    if not found.rows:
        raise ProjectNotFound
    return encode(present_project(found.rows[0], call.services.settings.region))


async def read_projects(call: Call, page: Page, searched: str | None, *, counted: bool) -> bytes:
    """Return a page of all projects as JSON."""
    scope = search(searched, _SEARCHED) if searched is not None else Sql("true")
    statements = listing(page, LIST, scope, columns="*", project="", cursor_scope=Sql("true"))
    found = await read_page(call, statements, cursor=page.cursor, noun=LIST.noun, counted=counted)
    region = call.services.settings.region
    return joined("projects", found.total, [encode(present_project(row, region)) for row in found.rows])


async def read_keys(call: Call, project_id: str) -> bytes:
    """Return a project's keys as JSON. Raises ProjectNotFound."""
    rows = await _read_parts(call, KEYS, project_id)
    return joined("keys", len(rows), [encode(present_key(row)) for row in rows])


async def read_key(call: Call, project_id: str, key_id: str) -> bytes:
    """Return one key as JSON. Raises ProjectNotFound, KeyNotFound."""
    row = next((row for row in await _read_parts(call, KEYS, project_id) if row["key_id"] == key_id), None)
    if row is None:
        raise KeyNotFound
    return encode(present_key(row))


async def read_platforms(call: Call, project_id: str) -> bytes:
    """Return a project's platforms as JSON. Raises ProjectNotFound."""
    rows = await _read_parts(call, PLATFORMS, project_id)
    return joined("platforms", len(rows), [encode(present_platform(row)) for row in rows])


async def read_platform(call: Call, project_id: str, platform_id: str) -> bytes:
    """Return one platform as JSON. Raises ProjectNotFound, PlatformNotFound."""
    row = next(
        (row for row in await _read_parts(call, PLATFORMS, project_id) if row["platform_id"] == platform_id), None
    )
    if row is None:
        raise PlatformNotFound
    return encode(present_platform(row))


async def _read_parts(call: Call, lookup: Lookup, project_id: str) -> list[Row]:
    project = call.services.reads.look_up(ONE, project_id)
    found = await call.services.reads.look_up(lookup, project_id)
    if not (await project).rows:
        raise ProjectNotFound
    call.seen(found.position)
    return list(found.rows)

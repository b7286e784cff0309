"""Queries that read users and their sessions."""

import asyncio

from annals.app.edge.call import Call
from annals.app.queries.page import Page
from annals.app.queries.reading import read_list
from annals.app.queries.schema import boolean, date, schema, text
from annals.app.queries.statements import Sql, all_of, search
from annals.app.reads import Lookup
from annals.app.wire import encode, joined
from annals.domain.errors import SessionNotFound, UserNotFound
from annals.projections.identity_models import present_session, present_user
from annals.store.log.log import Recorded
from annals.store.postgres import sql
from annals.store.postgres.database import Row

QUERIES = sql.load(__package__, "queries.sql")
ONE = Lookup(QUERIES["users"], 2)
SESSIONS = Lookup(QUERIES["sessions"], 2)
_SEARCHED = "user_id || ' ' || email || ' ' || phone || ' ' || name"
LIST = schema(
    "users",
    "user_id",
    "User",
    name=text("name"),
    email=text("email"),
    phone=text("phone"),
    status=boolean("enabled"),
    passwordUpdate=date("password_set_at", nullable=True),
    registration=date("created_at"),
    emailVerification=boolean("email_verified"),
    phoneVerification=boolean("phone_verified"),
    accessedAt=date("accessed_at"),
)


async def find_user(call: Call, user_id: str) -> Row:
    """Return a user's row, in the realm of the call. Raises UserNotFound."""
    found = await call.services.reads.look_up(ONE, call.realm, user_id)
    call.seen(found.position)
    if not found.rows:
        raise UserNotFound
    return found.rows[0]


async def find_sessions(call: Call, user_id: str) -> tuple[Row, list[Row]]:
    """Return a user's row, and the rows of their open sessions, oldest first. Raises UserNotFound."""
    user, found = await asyncio.gather(
        find_user(call, user_id), call.services.reads.look_up(SESSIONS, call.realm, user_id)
    )
    now = call.services.now()
    return user, [row for row in found.rows if row["expires_at"] > now]


async def read_users(call: Call, page: Page, searched: str | None, *, counted: bool) -> bytes:
    """Return a page of users as JSON."""
    mine = Sql("project_id = %s", (call.realm,))
    scope = mine if searched is None else all_of([mine, search(searched, _SEARCHED)])
    found = await read_list(call, page, LIST, scope, counted=counted, cursor_scope=mine)
    return joined("users", found.total, [encode(present_user(row, with_hash=True)) for row in found.rows])


async def read_sessions(call: Call, user_id: str, *, current: str = "", counted: bool = True) -> bytes:
    """Return a user's sessions as JSON, with `current` marked. Raises UserNotFound."""
    user, rows = await find_sessions(call, user_id)
    shown = [
        encode(present_session(row, email=user["email"], current=row["session_id"] == current)) for row in rows
    ]  # fmt: skip
    return joined("sessions", len(rows) if counted else 0, shown)


async def read_session(call: Call, user_id: str, session_id: str, *, current: str) -> bytes:
    """Return one session as JSON. Raises UserNotFound, SessionNotFound."""
    user, rows = await find_sessions(call, user_id)
    row = next((row for row in rows if row["session_id"] == session_id), None)
    if row is None:
        raise SessionNotFound
    return encode(present_session(row, email=user["email"], current=session_id == current))


async def present_recorded(call: Call, user_id: str, recorded: Recorded, *, with_hash: bool = True) -> bytes:
    """Return the user's JSON from the rows of an append, or from the database if nothing was recorded."""
    call.seen(recorded.position)
    rows = recorded.rows.get("users")
    row = rows[0] if rows else await find_user(call, user_id)
    return encode(present_user(row, with_hash=with_hash))

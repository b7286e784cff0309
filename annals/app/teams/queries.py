"""Queries that read teams and memberships that the caller may see."""

import asyncio

from annals.app.edge.call import Call
from annals.app.identity.caller import Caller
from annals.app.queries.page import Page
from annals.app.queries.reading import read_list
from annals.app.queries.schema import boolean, date, integer, schema, text
from annals.app.queries.statements import Sql, all_of, search
from annals.app.reads import Lookup
from annals.app.wire import encode, joined
from annals.domain.errors import MembershipNotFound, TeamNotFound
from annals.domain.team import OWNER
from annals.projections.identity_models import present_membership, present_team
from annals.store.postgres import sql
from annals.store.postgres.database import Row

QUERIES = sql.load(__package__, "queries.sql")
_TOTAL = QUERIES["total"]
_TOTAL_OF_LIST = _TOTAL.replace("t.project_id", "teams.project_id").replace("t.team_id", "teams.team_id")
_NAMES = ", ".join(
    f"coalesce((SELECT {column} FROM {table} x WHERE x.project_id = memberships.project_id"  # noqa: S608
    f" AND x.{key} = memberships.{key}), '') AS {name}"
    for name, table, column, key in (
        ("user_name", "users", "name", "user_id"),
        ("user_email", "users", "email", "user_id"),
        ("team_name", "teams", "name", "team_id"),
    )
)
ONE = Lookup(QUERIES["teams"].format(total=_TOTAL), 2)
MEMBERSHIP = Lookup(QUERIES["memberships"].format(names=_NAMES), 3)
LIST = schema("teams", "team_id", "Team", name=text("name"), total=integer(_TOTAL_OF_LIST))
MEMBERSHIPS = schema(
    "memberships",
    "membership_id",
    "Membership",
    userId=text("user_id"),
    teamId=text("team_id"),
    invited=date("created_at"),
    joined=date("joined_at", nullable=True),
    confirm=boolean("confirmed"),
)
_SEARCHED = "team_id || ' ' || name"
_SEARCHED_MEMBERS = "membership_id || ' ' || user_id"


def is_member(caller: Caller, team_id: str) -> bool:
    return any(member.team_id == team_id for member in caller.memberships)


def is_owner(caller: Caller, team_id: str) -> bool:
    return any(member.team_id == team_id and OWNER in member.roles for member in caller.memberships)


async def find_team(call: Call, team_id: str) -> Row:
    """Return a team's row. Raises TeamNotFound, also for users who are not members."""
    found = await call.services.reads.look_up(ONE, call.realm, team_id)
    call.seen(found.position)
    caller = await call.caller()
    if not found.rows or not (caller.privileged or is_member(caller, team_id)):
        raise TeamNotFound
    return found.rows[0]


async def read_team(call: Call, team_id: str) -> bytes:
    """Return one team as JSON. Raises TeamNotFound."""
    row = await find_team(call, team_id)
    return encode(present_team(row, row["total"]))


async def read_teams(call: Call, page: Page, searched: str | None, *, counted: bool) -> bytes:
    """Return a page of teams as JSON. A user gets the teams of which they are a member."""
    conditions = [Sql("project_id = %s", (call.realm,))]
    if not call.claims_key:
        caller = await call.caller()
        if not caller.privileged:
            conditions.append(Sql("team_id = ANY(%s)", ([member.team_id for member in caller.memberships],)))
    if searched is not None:
        conditions.append(search(searched, _SEARCHED))
    columns = f"*, {_TOTAL_OF_LIST} AS total"
    found = await read_list(call, page, LIST, all_of(conditions), counted=counted, columns=columns)
    return joined("teams", found.total, [encode(present_team(row, row["total"])) for row in found.rows])


async def read_memberships(call: Call, team_id: str, page: Page, searched: str | None, *, counted: bool) -> bytes:
    """Return a page of a team's memberships as JSON. Raises TeamNotFound."""
    scope = Sql("project_id = %s AND team_id = %s", (call.realm, team_id))
    if searched is not None:
        scope = all_of([scope, search(searched, _SEARCHED_MEMBERS)])
    listing = read_list(call, page, MEMBERSHIPS, scope, counted=counted, columns=f"*, {_NAMES}")
    team, found = await asyncio.gather(find_team(call, team_id), listing, return_exceptions=True)
    if isinstance(team, BaseException):
        raise team
    if isinstance(found, BaseException):
        raise found
    caller = await call.caller()
    return joined("memberships", found.total, [present(row, caller) for row in found.rows])


async def read_membership(call: Call, team_id: str, membership_id: str, *, by_email: bool = False) -> bytes:
    """Return one membership as JSON; see `present` for `by_email`. Raises TeamNotFound, MembershipNotFound."""
    await find_team(call, team_id)
    row = await find_membership(call, team_id, membership_id)
    return present(row, await call.caller(), by_email=by_email)


async def find_membership(call: Call, team_id: str, membership_id: str) -> Row:
    """Return a membership's row with the names of its user and team.

    Raises MembershipNotFound, also for users who are neither members of the team nor the invited user.
    """
    found = await call.services.reads.look_up(MEMBERSHIP, call.realm, team_id, membership_id)
    call.seen(found.position)
    caller = await call.caller()
    for row in found.rows:
        if caller.privileged or is_member(caller, team_id) or row["user_id"] == caller.user_id:
            return row
    raise MembershipNotFound


def present(row: Row, reader: Caller, *, by_email: bool = False) -> bytes:
    """Return a row of `find_membership` as JSON, without name and email of a user who has not joined yet.

    Otherwise an owner could invite any user id to read them. Keys and admins see both. `by_email` is set if the caller
    named the user by the email.
    """
    names = {name: row[name] for name in ("user_name", "user_email", "team_name")}
    if not (row["confirmed"] or reader.privileged):
        names["user_name"] = ""
        if not by_email:
            names["user_email"] = ""
    return encode(present_membership(row, **names))

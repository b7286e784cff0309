"""Teams of projects, and their memberships."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from annals.domain.team import Team
from annals.store.log.request import Statement
from annals.store.postgres import sql

QUERIES = sql.load(__package__, "teams.sql")


def _created(event: Team.Created) -> list[Statement]:
    params = {"project_id": event.project_id, "team_id": event.team_id, "name": event.name}
    return [Statement(QUERIES["created"], {**_identity(event), **params}, "teams")]


def _renamed(event: Team.Renamed) -> list[Statement]:
    return [Statement(QUERIES["renamed"], {**_identity(event), "name": event.name}, "teams")]


def _member_added(event: Team.MemberAdded) -> list[Statement]:
    member = event.membership
    params = {
        "membership_id": member.membership_id,
        "user_id": member.user_id,
        "roles": member.roles,
        "confirmed": member.confirmed,
    }
    return [Statement(QUERIES["member_added"], {**_identity(event), **params}, "memberships")]


def _member_confirmed(event: Team.MemberConfirmed) -> list[Statement]:
    params = {"membership_id": event.membership_id, "roles": None, "joins": True}
    return [Statement(QUERIES["member_changed"], {**_identity(event), **params}, "memberships")]


def _member_changed(event: Team.MemberChanged) -> list[Statement]:
    params = {"membership_id": event.membership_id, "roles": event.roles, "joins": False}
    return [Statement(QUERIES["member_changed"], {**_identity(event), **params}, "memberships")]


def _member_removed(event: Team.MemberRemoved) -> list[Statement]:
    return [Statement(QUERIES["member_removed"], {**_identity(event), "membership_id": event.membership_id})]


def _deleted(event: Team.Deleted) -> list[Statement]:
    return [Statement(QUERIES["deleted"], _identity(event))]


def _identity(event: Any) -> dict[str, object]:
    return {"stream": event.originator_id, "version": event.originator_version}


PROJECTORS: Mapping[type, Callable[[Any], Sequence[Statement]]] = {
    Team.Created: _created,
    Team.Renamed: _renamed,
    Team.MemberAdded: _member_added,
    Team.MemberConfirmed: _member_confirmed,
    Team.MemberChanged: _member_changed,
    Team.MemberRemoved: _member_removed,
    Team.Deleted: _deleted,
}

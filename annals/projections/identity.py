"""Users of projects with their sessions, and teams with their memberships."""

from collections.abc import Mapping, Sequence
from typing import Any

from annals.domain.team import Team
from annals.domain.user import User
from annals.projections.projectors import Projector, identity, writes
from annals.store.log.request import Statement
from annals.store.postgres import sql

QUERIES = sql.load(__package__, "identity.sql")
_FIELDS = ("name", "email", "phone", "sealed_password", "enabled", "email_verified", "phone_verified", "labels")


def _user_changed(event: Any) -> Sequence[Statement]:
    """Return the statement for a changed attribute. A new address or number is not verified."""
    params: dict[str, object] = dict.fromkeys(_FIELDS)
    match event:
        case User.NameChanged():
            params["name"] = event.name
        case User.EmailChanged():
            params |= {"email": event.email, "email_verified": False}
        case User.PhoneChanged():
            params |= {"phone": event.phone, "phone_verified": False}
        case User.PasswordSet():
            params["sealed_password"] = event.sealed_password
        case User.StatusChanged():
            params["enabled"] = event.enabled
        case User.VerificationChanged():
            params[f"{event.what}_verified"] = event.verified
        case User.LabelsChanged():
            params["labels"] = event.labels
    return [Statement(QUERIES["user_changed"], identity(event) | params, "users")]


def _member_changed(event: Team.MemberConfirmed | Team.MemberChanged) -> Sequence[Statement]:
    roles = event.roles if isinstance(event, Team.MemberChanged) else None
    params = {"membership_id": event.membership_id, "roles": roles, "joins": isinstance(event, Team.MemberConfirmed)}
    return [Statement(QUERIES["member_changed"], identity(event) | params, "memberships")]


PROJECTORS: Mapping[type, Projector] = {
    User.Created: writes(QUERIES["user_created"], "users"),
    User.NameChanged: _user_changed,
    User.EmailChanged: _user_changed,
    User.PhoneChanged: _user_changed,
    User.PasswordSet: _user_changed,
    User.StatusChanged: _user_changed,
    User.VerificationChanged: _user_changed,
    User.LabelsChanged: _user_changed,
    User.SessionOpened: writes(QUERIES["session_opened"], "sessions", part="session"),
    User.SessionClosed: writes(QUERIES["session_closed"]),
    User.Deleted: writes(QUERIES["user_deleted"]),
    Team.Created: writes(QUERIES["team_created"], "teams"),
    Team.Renamed: writes(QUERIES["team_renamed"], "teams"),
    Team.MemberAdded: writes(QUERIES["member_added"], "memberships", part="membership"),
    Team.MemberConfirmed: _member_changed,
    Team.MemberChanged: _member_changed,
    Team.MemberRemoved: writes(QUERIES["member_removed"]),
    Team.Deleted: writes(QUERIES["team_deleted"]),
}

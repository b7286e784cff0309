"""Wire models of users, sessions, teams and memberships: for answers, and for the events that functions receive."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from annals.domain.dates import wire_date


class HashOptions(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """The cost of a password's hash, memory in KiB."""

    type: str = "argon2"
    memory_cost: int = 65536
    time_cost: int = 3
    threads: int = 4


class UserModel(msgspec.Struct, rename="camel", kw_only=True):
    """A user. No answer has the hash of a password, and users see no field about hashes."""

    id: str = msgspec.field(name="$id")
    created_at: str = msgspec.field(name="$createdAt")
    updated_at: str = msgspec.field(name="$updatedAt")
    name: str
    password: str | UnsetType = UNSET
    hash: str | UnsetType = UNSET
    hash_options: HashOptions | UnsetType | None = UNSET
    registration: str
    status: bool
    labels: Sequence[str]
    password_update: str
    email: str
    phone: str
    email_verification: bool
    phone_verification: bool
    mfa: bool = False
    prefs: dict[str, Any] = {}
    targets: list[Any] = []
    accessed_at: str


class SessionModel(msgspec.Struct, rename="camel", kw_only=True):
    """A session. Only the answer to its creation has the `secret`, for a key or the user."""

    id: str = msgspec.field(name="$id")
    created_at: str = msgspec.field(name="$createdAt")
    updated_at: str = msgspec.field(name="$updatedAt")
    user_id: str
    expire: str
    provider: str
    provider_uid: str
    provider_access_token: str = ""
    provider_access_token_expiry: str = ""
    provider_refresh_token: str = ""
    ip: str
    os_code: str = ""
    os_name: str = ""
    os_version: str = ""
    client_type: str = ""
    client_code: str = ""
    client_name: str = ""
    client_version: str = ""
    client_engine: str = ""
    client_engine_version: str = ""
    device_name: str = ""
    device_brand: str = ""
    device_model: str = ""
    country_code: str = "--"
    country_name: str = "Unknown"
    current: bool
    factors: list[str]
    secret: str
    mfa_updated_at: str = ""


class TeamModel(msgspec.Struct, rename="camel", kw_only=True):
    """A team; `total` is the number of confirmed members."""

    id: str = msgspec.field(name="$id")
    created_at: str = msgspec.field(name="$createdAt")
    updated_at: str = msgspec.field(name="$updatedAt")
    name: str
    total: int
    prefs: dict[str, Any] = {}


class MembershipModel(msgspec.Struct, rename="camel", kw_only=True):
    """A membership of a team."""

    id: str = msgspec.field(name="$id")
    created_at: str = msgspec.field(name="$createdAt")
    updated_at: str = msgspec.field(name="$updatedAt")
    user_id: str
    user_name: str
    user_email: str
    user_phone: str = ""
    team_id: str
    team_name: str
    invited: str
    joined: str
    confirm: bool
    mfa: bool = False
    user_accessed_at: str = ""
    roles: Sequence[str]


def present_user(row: Mapping[str, Any], *, with_hash: bool) -> UserModel:
    """Return the model of a row of `users`."""
    shown = UserModel(
        id=row["user_id"],
        created_at=wire_date(row["created_at"]),
        updated_at=wire_date(row["updated_at"]),
        name=row["name"],
        registration=wire_date(row["created_at"]),
        status=row["enabled"],
        labels=row["labels"],
        password_update=wire_date(row["password_set_at"]),
        email=row["email"],
        phone=row["phone"],
        email_verification=row["email_verified"],
        phone_verification=row["phone_verified"],
        accessed_at=wire_date(row["accessed_at"]),
    )
    if with_hash:
        has_password = bool(row["sealed_password"])
        shown.password = ""
        shown.hash = "argon2" if has_password else ""
        shown.hash_options = HashOptions() if has_password else None
    return shown


def present_session(row: Mapping[str, Any], *, email: str, current: bool = False, secret: str = "") -> SessionModel:
    """Return the model of a row of `sessions`, with its user's e-mail address."""
    return SessionModel(
        id=row["session_id"],
        created_at=wire_date(row["created_at"]),
        updated_at=wire_date(row["created_at"]),
        user_id=row["user_id"],
        expire=wire_date(row["expires_at"]),
        provider=row["provider"],
        provider_uid=email if row["provider"] == "email" else "",
        ip=row["ip"],
        current=current,
        factors=["password"] if row["provider"] == "email" else [],
        secret=secret,
    )


def present_team(row: Mapping[str, Any], total: int) -> TeamModel:
    """Return the model of a row of `teams`."""
    return TeamModel(
        id=row["team_id"],
        created_at=wire_date(row["created_at"]),
        updated_at=wire_date(row["updated_at"]),
        name=row["name"],
        total=total,
    )


def present_membership(row: Mapping[str, Any], *, user_name: str, user_email: str, team_name: str) -> MembershipModel:
    """Return the model of a row of `memberships`, with the names of its user and team."""
    return MembershipModel(
        id=row["membership_id"],
        created_at=wire_date(row["created_at"]),
        updated_at=wire_date(row["updated_at"]),
        user_id=row["user_id"],
        user_name=user_name,
        user_email=user_email,
        team_id=row["team_id"],
        team_name=team_name,
        invited=wire_date(row["created_at"]),
        joined=wire_date(row["joined_at"]),
        confirm=row["confirmed"],
        roles=row["roles"],
    )

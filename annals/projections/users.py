"""Users of projects, and their sessions."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from annals.domain.user import User
from annals.store.log.request import Statement
from annals.store.postgres import sql

QUERIES = sql.load(__package__, "users.sql")


def _created(event: User.Created) -> list[Statement]:
    params = {
        "project_id": event.project_id,
        "user_id": event.user_id,
        "name": event.name,
        "email": event.email,
        "phone": event.phone,
        "sealed_password": event.sealed_password,
    }
    return [Statement(QUERIES["created"], {**_identity(event), **params}, "users")]


def _changed(event: Any) -> list[Statement]:
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
    return [Statement(QUERIES["changed"], {**_identity(event), **params}, "users")]


def _session_opened(event: User.SessionOpened) -> list[Statement]:
    session = event.session
    params = {
        "session_id": session.session_id,
        "digest": session.digest,
        "provider": session.provider,
        "ip": session.ip,
        "expires_at": session.expires_at,
    }
    return [Statement(QUERIES["session_opened"], {**_identity(event), **params}, "sessions")]


def _session_closed(event: User.SessionClosed) -> list[Statement]:
    return [Statement(QUERIES["session_closed"], {**_identity(event), "session_id": event.session_id})]


def _deleted(event: User.Deleted) -> list[Statement]:
    return [Statement(QUERIES["deleted"], _identity(event))]


def _identity(event: Any) -> dict[str, object]:
    return {"stream": event.originator_id, "version": event.originator_version}


_FIELDS = ("name", "email", "phone", "sealed_password", "enabled", "email_verified", "phone_verified", "labels")

PROJECTORS: Mapping[type, Callable[[Any], Sequence[Statement]]] = {
    User.Created: _created,
    User.NameChanged: _changed,
    User.EmailChanged: _changed,
    User.PhoneChanged: _changed,
    User.PasswordSet: _changed,
    User.StatusChanged: _changed,
    User.VerificationChanged: _changed,
    User.LabelsChanged: _changed,
    User.SessionOpened: _session_opened,
    User.SessionClosed: _session_closed,
    User.Deleted: _deleted,
}

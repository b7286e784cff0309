"""Which users a project has, and by which sessions they are known."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from annals.domain.user import User
from annals.store.log.request import Statement
from annals.store.postgres import sql

QUERIES = sql.load(__package__, "users.sql")


def _created(event: User.Created) -> list[Statement]:
    recorded_events = {
        "project_id": event.project_id,
        "user_id": event.user_id,
        "name": event.name,
        "email": event.email,
        "phone": event.phone,
        "sealed_password": event.sealed_password,
    }
    return [Statement(QUERIES["created"], {**_identity(event), **recorded_events}, "users")]


def _changed(event: Any) -> list[Statement]:
    """Fields are named as in the event; a new address or number is not verified."""
    recorded_events: dict[str, object] = dict.fromkeys(_FIELDS)
    match event:
        case User.NameChanged():
            recorded_events["name"] = event.name
        case User.EmailChanged():
            recorded_events |= {"email": event.email, "email_verified": False}
        case User.PhoneChanged():
            recorded_events |= {"phone": event.phone, "phone_verified": False}
        case User.PasswordSet():
            recorded_events["sealed_password"] = event.sealed_password
        case User.StatusChanged():
            recorded_events["enabled"] = event.enabled
        case User.VerificationChanged():
            recorded_events[f"{event.what}_verified"] = event.verified
        case User.LabelsChanged():
            recorded_events["labels"] = event.labels
    return [Statement(QUERIES["changed"], {**_identity(event), **recorded_events}, "users")]


def _session_opened(event: User.SessionOpened) -> list[Statement]:
    session = event.session
    recorded_events = {
        "session_id": session.session_id,
        "digest": session.digest,
        "provider": session.provider,
        "ip": session.ip,
        "expires_at": session.expires_at,
    }
    return [Statement(QUERIES["session_opened"], {**_identity(event), **recorded_events}, "sessions")]


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

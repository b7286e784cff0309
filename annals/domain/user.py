"""A user of a project: identity, status and sessions."""

from datetime import datetime
from typing import ClassVar, Literal

import msgspec

from annals.domain.base import Aggregate, AggregateEvent, CreatedEvent, DeletionEvent
from annals.domain.errors import SessionNotFound, UserAlreadyExists, UserNotFound

Provider = Literal["email", "server"]
Verifiable = Literal["email", "phone"]
MOST_SESSIONS = 10
"""Most sessions of a user; a further session closes the oldest."""


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """A session; `digest` is the SHA-256 of its secret, which only its owner has, `ip` the address of its client."""

    session_id: str
    digest: str
    provider: Provider
    expires_at: datetime
    ip: str = ""


class User(Aggregate):
    """A user; `sealed_password` is an encrypted argon2 hash, empty without a password."""

    TOPIC: ClassVar[str] = "user"
    MISSING = UserNotFound
    TAKEN = UserAlreadyExists
    SNAPSHOT_EVERY = 100

    class Event(AggregateEvent, frozen=True):
        pass

    class Created(CreatedEvent, Event, frozen=True):
        """`name`, `email` and `phone` are personal data in clear text: they are searched, and addresses are unique."""

        TOPIC: ClassVar[str] = "user.created"
        project_id: str
        user_id: str
        name: str = ""
        email: str = ""
        phone: str = ""
        sealed_password: str = ""

    class NameChanged(Event, frozen=True):
        TOPIC: ClassVar[str] = "user.name_changed"
        name: str

        def apply(self, aggregate: "User") -> None:
            aggregate.name = self.name

    class EmailChanged(Event, frozen=True):
        """A new address is not verified."""

        TOPIC: ClassVar[str] = "user.email_changed"
        email: str

        def apply(self, aggregate: "User") -> None:
            aggregate.email = self.email
            aggregate.verified -= {"email"}

    class PhoneChanged(Event, frozen=True):
        """A new number is not verified."""

        TOPIC: ClassVar[str] = "user.phone_changed"
        phone: str

        def apply(self, aggregate: "User") -> None:
            aggregate.phone = self.phone
            aggregate.verified -= {"phone"}

    class PasswordSet(Event, frozen=True):
        TOPIC: ClassVar[str] = "user.password_set"
        sealed_password: str

        def apply(self, aggregate: "User") -> None:
            aggregate.sealed_password = self.sealed_password

    class StatusChanged(Event, frozen=True):
        """A blocked user is rejected at once, with every kind of credential."""

        TOPIC: ClassVar[str] = "user.status_changed"
        enabled: bool

        def apply(self, aggregate: "User") -> None:
            aggregate.enabled = self.enabled

    class VerificationChanged(Event, frozen=True):
        TOPIC: ClassVar[str] = "user.verification_changed"
        what: Verifiable
        verified: bool

        def apply(self, aggregate: "User") -> None:
            aggregate.verified = aggregate.verified | {self.what} if self.verified else aggregate.verified - {self.what}

    class LabelsChanged(Event, frozen=True):
        TOPIC: ClassVar[str] = "user.labels_changed"
        labels: list[str]

        def apply(self, aggregate: "User") -> None:
            aggregate.labels = self.labels

    class SessionOpened(Event, frozen=True):
        TOPIC: ClassVar[str] = "user.session_opened"
        session: Session

        def apply(self, aggregate: "User") -> None:
            aggregate.sessions[self.session.session_id] = self.session

    class SessionClosed(Event, frozen=True):
        TOPIC: ClassVar[str] = "user.session_closed"
        session_id: str

        def apply(self, aggregate: "User") -> None:
            del aggregate.sessions[self.session_id]

    class Deleted(DeletionEvent, Event, frozen=True):
        """The user is deleted, with all sessions and memberships."""

        TOPIC: ClassVar[str] = "user.deleted"

    def __init__(
        self,
        *,
        project_id: str,
        user_id: str,
        name: str = "",
        email: str = "",
        phone: str = "",
        sealed_password: str = "",
    ) -> None:
        self.project_id = project_id
        self.user_id = user_id
        self.name = name
        self.email = email
        self.phone = phone
        self.sealed_password = sealed_password
        self.enabled = True
        self.verified: frozenset[str] = frozenset()
        self.labels: list[str] = []
        self.sessions: dict[str, Session] = {}

    def change_name(self, name: str) -> None:
        if name != self.name:
            self.trigger_event(self.NameChanged, name=name)

    def change_email(self, email: str) -> None:
        if email != self.email:
            self.trigger_event(self.EmailChanged, email=email)

    def change_phone(self, phone: str) -> None:
        if phone != self.phone:
            self.trigger_event(self.PhoneChanged, phone=phone)

    def set_password(self, sealed_password: str) -> None:
        """Set the password. Sessions stay open."""
        self.trigger_event(self.PasswordSet, sealed_password=sealed_password)

    def change_status(self, *, enabled: bool) -> None:
        if enabled != self.enabled:
            self.trigger_event(self.StatusChanged, enabled=enabled)

    def change_verification(self, channel: Verifiable, *, verified: bool) -> None:
        if verified != (channel in self.verified):
            self.trigger_event(self.VerificationChanged, what=channel, verified=verified)

    def change_labels(self, labels: list[str]) -> None:
        """Replace the labels, without duplicates and in their order."""
        labels = list(dict.fromkeys(labels))
        if labels != self.labels:
            self.trigger_event(self.LabelsChanged, labels=labels)

    def open_session(self, session: Session) -> None:
        """Open a session, and close the oldest ones beyond the limit. A repeat is a no-op."""
        if session.session_id in self.sessions:
            return
        for oldest in list(self.sessions)[: max(0, len(self.sessions) - MOST_SESSIONS + 1)]:
            self.trigger_event(self.SessionClosed, session_id=oldest)
        self.trigger_event(self.SessionOpened, session=session)

    def close_session(self, session_id: str) -> None:
        if session_id not in self.sessions:
            raise SessionNotFound
        self.trigger_event(self.SessionClosed, session_id=session_id)

    def close_sessions(self) -> None:
        for session_id in list(self.sessions):
            self.close_session(session_id)

    def delete(self) -> None:
        self.trigger_event(self.Deleted)

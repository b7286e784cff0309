"""Commands on users and their sessions."""

from typing import Any

from annals.domain.base import Aggregate
from annals.domain.team import Team
from annals.domain.user import Session, User, Verifiable


def create_user(former: User | None, **fields: Any) -> list[Aggregate]:
    return [User.create(former, **fields)]


def change_name(user: User, *, name: str) -> list[Aggregate]:
    user.change_name(name)
    return [user]


def change_email(user: User, *, email: str) -> list[Aggregate]:
    user.change_email(email)
    return [user]


def change_phone(user: User, *, phone: str) -> list[Aggregate]:
    user.change_phone(phone)
    return [user]


def set_password(user: User, *, sealed_password: str) -> list[Aggregate]:
    user.set_password(sealed_password)
    return [user]


def change_status(user: User, *, enabled: bool) -> list[Aggregate]:
    user.change_status(enabled=enabled)
    return [user]


def change_verification(user: User, *, channel: Verifiable, verified: bool) -> list[Aggregate]:
    user.change_verification(channel, verified=verified)
    return [user]


def change_labels(user: User, *, labels: list[str]) -> list[Aggregate]:
    user.change_labels(labels)
    return [user]


def open_session(user: User, *, session: Session) -> list[Aggregate]:
    user.open_session(session)
    return [user]


def close_session(user: User, *, session_id: str) -> list[Aggregate]:
    user.close_session(session_id)
    return [user]


def close_sessions(user: User) -> list[Aggregate]:
    user.close_sessions()
    return [user]


def delete_user(user: User, *teams: Team | None) -> list[Aggregate]:
    """Delete a user and the user's memberships. Teams that were deleted meanwhile are skipped."""
    left = [team for team in teams if team is not None and not team.deleted]
    for team in left:
        team.remove_user(user.user_id)
    user.delete()
    return [*left, user]


def delete_users(*users: User) -> list[Aggregate]:
    for user in users:
        user.delete()
    return list(users)

"""Users: attributes and sessions."""

from datetime import UTC, datetime
from typing import Any

import pytest

from annals.domain.commands.projects import delete_user
from annals.domain.errors import SessionNotFound, UserAlreadyExists
from annals.domain.team import Membership, Team
from annals.domain.user import MOST_SESSIONS, Session, User

EXPIRES = datetime(2030, 1, 1, tzinfo=UTC)


def given_user(**fields: Any) -> User:
    user = User.create(None, project_id="p", user_id="u", **fields)
    user.collect_events()
    return user


def session(session_id: str) -> Session:
    return Session(session_id=session_id, digest="d", provider="email", expires_at=EXPIRES)


def decided(user: User) -> list[str]:
    return [type(event).__name__ for event in user.collect_events()]


def test_user_id_is_free_after_deletion() -> None:
    user = given_user()
    with pytest.raises(UserAlreadyExists):
        User.create(user, project_id="p", user_id="u")

    user.delete()
    again = User.create(user, project_id="p", user_id="u", name="Again")
    assert (again.version, again.deleted) == (user.version + 1, False)


def test_change_to_the_same_value_records_nothing() -> None:
    user = given_user(name="N", email="a@x.test", phone="+1")
    user.change_name("N")
    user.change_email("a@x.test")
    user.change_phone("+1")
    user.change_status(enabled=True)
    user.change_verification("email", verified=False)
    user.change_labels([])

    assert decided(user) == []


def test_new_address_or_number_is_not_verified() -> None:
    user = given_user(email="a@x.test", phone="+1")
    user.change_verification("email", verified=True)
    user.change_verification("phone", verified=True)

    user.change_email("b@x.test")
    assert user.verified == {"phone"}
    user.change_phone("")
    assert user.verified == set()


def test_session_beyond_the_limit_closes_the_oldest() -> None:
    user = given_user()
    for number in range(MOST_SESSIONS + 1):
        user.open_session(session(f"s{number}"))

    assert list(user.sessions) == [f"s{number}" for number in range(1, MOST_SESSIONS + 1)]
    assert decided(user).count("SessionClosed") == 1


def test_session_is_opened_and_closed_once() -> None:
    user = given_user()
    user.open_session(session("s"))
    user.open_session(session("s"))
    user.close_session("s")

    assert decided(user) == ["SessionOpened", "SessionClosed"]
    with pytest.raises(SessionNotFound):
        user.close_session("s")


def test_deleted_user_leaves_all_teams() -> None:
    user, team, other = given_user(), Team.create(None, project_id="p", team_id="t", name="T"), None
    team.add_member(Membership(membership_id="m", user_id="u", roles=[], confirmed=True))
    team.add_member(Membership(membership_id="n", user_id="v", roles=[], confirmed=True))
    gone = Team.create(None, project_id="p", team_id="gone", name="G")
    gone.delete()

    assert delete_user(user, team, other, gone) == [team, user]
    assert list(team.memberships) == ["n"]
    assert user.deleted

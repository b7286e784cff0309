"""The names of events, in the contract's order (http-api.md 8.5)."""

import pytest

from annals.domain.event_names import NamedEvent, is_emitted, is_event_pattern, named_event
from annals.domain.function import Function
from annals.domain.team import Membership, Team
from annals.domain.user import User


def test_names_of_one_level() -> None:
    assert NamedEvent((("functions", "F"),), "update").names == [
        "functions.F.update", "functions.*.update", "functions.F", "functions.*",
    ]  # fmt: skip


def test_names_of_two_levels() -> None:
    assert NamedEvent((("functions", "F"), ("deployments", "D")), "create").names == [
        "functions.F.deployments.D.create",
        "functions.*.deployments.*.create",
        "functions.F.deployments.*.create",
        "functions.*.deployments.D.create",
        "functions.F.deployments.D",
        "functions.*.deployments.*",
        "functions.F.deployments.*",
        "functions.*.deployments.D",
        "functions.F",
        "functions.*",
    ]


def test_names_with_an_attribute() -> None:
    assert NamedEvent((("users", "U"),), "update", "email").names == [
        "users.U.update", "users.*.update", "users.U.update.email", "users.*.update.email", "users.U", "users.*",
    ]  # fmt: skip


def test_events_of_users_and_teams_have_names() -> None:
    member = Membership(membership_id="m", user_id="u", roles=[], confirmed=False)
    events = [
        User.EmailChanged(originator_id="user:p:u", originator_version=2, email="a@b.c"),
        User.SessionClosed(originator_id="user:p:u", originator_version=3, session_id="s"),
        Team.MemberAdded(originator_id="team:p:t", originator_version=2, membership=member),
        Team.MemberConfirmed(originator_id="team:p:t", originator_version=3, membership_id="m"),
    ]

    named_events = [named for event in events if (named := named_event(event))]

    assert [named.names[0] for named in named_events] == [
        "users.u.update",
        "users.u.sessions.s.delete",
        "teams.t.memberships.m.create",
        "teams.t.memberships.m.update",
    ]
    assert all(is_event_pattern(name) for named in named_events for name in named.names)


def test_events_of_functions_have_no_names() -> None:
    assert named_event(Function.Deleted(originator_id="function:p:f", originator_version=2)) is None


@pytest.mark.parametrize(
    "pattern",
    [
        *("users.*", "users.u", "users.*.create", "users.u.update.email", "users.*.sessions.*.create"),
        *("users.u.sessions.s", "teams.*.memberships.*", "teams.t.memberships.m.update.status", "teams.*.delete"),
    ],
)
def test_patterns_of_recorded_events_are_emitted(pattern: str) -> None:
    assert is_event_pattern(pattern)
    assert is_emitted(pattern)


@pytest.mark.parametrize(
    "pattern",
    [
        *("databases.*", "buckets.*.files.*.create", "users.*.recovery.*.create", "users.*.verification.*"),
        *("users.*.update.prefs", "teams.*.update.prefs", "users.*.targets.*.create", "messages.m.create"),
    ],
)
def test_patterns_of_other_services_are_not_emitted(pattern: str) -> None:
    assert is_event_pattern(pattern)
    assert not is_emitted(pattern)

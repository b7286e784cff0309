"""Teams and their memberships."""

import pytest

from annals.domain.errors import (
    MembershipAlreadyConfirmed,
    MembershipNotFound,
    TeamAlreadyExists,
    TeamInviteAlreadyExists,
)
from annals.domain.team import Membership, Team


def member(membership_id: str = "m", user_id: str = "u", *, confirmed: bool = True) -> Membership:
    return Membership(membership_id=membership_id, user_id=user_id, roles=["dev"], confirmed=confirmed)


def given_team(*members: Membership) -> Team:
    team = Team.create(None, project_id="p", team_id="t", name="T")
    for one in members:
        team.add_member(one)
    team.collect_events()
    return team


def test_team_id_is_free_after_deletion() -> None:
    team = given_team()
    with pytest.raises(TeamAlreadyExists):
        Team.create(team, project_id="p", team_id="t", name="T")
    team.delete()

    assert Team.create(team, project_id="p", team_id="t", name="T").version == 3


@pytest.mark.parametrize("second", [member("m", "v"), member("n", "u")])
def test_user_has_one_membership_in_a_team(second: Membership) -> None:
    with pytest.raises(TeamInviteAlreadyExists):
        given_team(member()).add_member(second)


def test_invitation_is_accepted_once() -> None:
    team = given_team(member(confirmed=False))
    team.confirm_member("m")

    assert team.membership("m") == member()
    with pytest.raises(MembershipAlreadyConfirmed):
        team.confirm_member("m")


def test_roles_that_stay_the_same_record_nothing() -> None:
    team = given_team(member())
    team.change_member("m", ["dev"])
    team.rename("T")
    team.remove_user("unknown")
    assert team.collect_events() == []

    team.change_member("m", [])
    assert team.membership("m").roles == []


def test_unknown_membership_is_an_error() -> None:
    team = given_team()
    with pytest.raises(MembershipNotFound):
        team.confirm_member("m")
    with pytest.raises(MembershipNotFound):
        team.change_member("m", [])
    with pytest.raises(MembershipNotFound):
        team.remove_member("m")

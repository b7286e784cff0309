"""Commands on teams and their memberships."""

from annals.domain.base import Aggregate
from annals.domain.team import Membership, Team
from annals.domain.user import User


def create_team(
    former: Team | None, *, project_id: str, team_id: str, name: str, owner: Membership | None
) -> list[Aggregate]:
    """Create a team; the user who creates it is its first member."""
    team = Team.create(former, project_id=project_id, team_id=team_id, name=name)
    if owner is not None:
        team.add_member(owner)
    return [team]


def rename_team(team: Team, *, name: str) -> list[Aggregate]:
    team.rename(name)
    return [team]


def add_member(team: Team, user: User, *, membership: Membership) -> list[Aggregate]:
    """Add an existing user to a team."""
    team.add_member(membership)
    return [team, user]


def confirm_member(team: Team, *, membership_id: str) -> list[Aggregate]:
    team.confirm_member(membership_id)
    return [team]


def change_member(team: Team, *, membership_id: str, roles: list[str]) -> list[Aggregate]:
    team.change_member(membership_id, roles)
    return [team]


def remove_member(team: Team, *, membership_id: str) -> list[Aggregate]:
    team.remove_member(membership_id)
    return [team]


def delete_team(team: Team) -> list[Aggregate]:
    team.delete()
    return [team]


def delete_teams(*teams: Team) -> list[Aggregate]:
    for team in teams:
        team.delete()
    return list(teams)

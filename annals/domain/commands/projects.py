"""Commands on projects, and on their users and teams."""

from annals.domain.base import Aggregate
from annals.domain.function import Function
from annals.domain.project import ApiKey, Project
from annals.domain.team import Membership, Team
from annals.domain.user import User


def create_project(former: Project | None, *, project_id: str, name: str, keys: list[ApiKey]) -> list[Aggregate]:
    project = Project.create(former, project_id=project_id, name=name)
    for key in keys:
        project.add_key(key)
    return [project]


def create_team(
    former: Team | None, *, project_id: str, team_id: str, name: str, owner: Membership | None
) -> list[Aggregate]:
    """Create a team; the user who creates it is its first member."""
    team = Team.create(former, project_id=project_id, team_id=team_id, name=name)
    if owner is not None:
        team.add_member(owner)
    return [team]


def add_member(team: Team, user: User, *, membership: Membership) -> list[Aggregate]:
    """Add an existing user to a team."""
    team.add_member(membership)
    return [team, user]


def delete_user(user: User, *teams: Team | None) -> list[Aggregate]:
    """Delete a user and the user's memberships. Teams that were deleted meanwhile are skipped."""
    left = [team for team in teams if team is not None and not team.deleted]
    for team in left:
        team.remove_user(user.user_id)
    user.delete()
    return [*left, user]


def delete_all(*parts: Function | Team | User) -> list[Aggregate]:
    """Delete functions, teams or users of a project that is being deleted."""
    for part in parts:
        part.delete()
    return list(parts)

"""Steps of a random history for users, teams and a project's settings."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from annals.domain.commands import projects
from annals.domain.project import Platform, Project
from annals.domain.team import Membership, Team
from annals.domain.user import Session, User
from annals.domain.variables import Variable

EXPIRES = datetime(2030, 1, 1, tzinfo=UTC)

IDENTITY_ACTIONS = [
    *["create_user", "create_user", "change_user", "change_user", "open_session", "open_session", "close_session"],
    *["close_sessions", "delete_user", "create_team", "create_team", "rename_team", "add_member", "add_member"],
    *["confirm_member", "change_member", "remove_member", "delete_team", "switch_service", "add_platform"],
    *["remove_platform", "add_project_variable", "change_project_variable", "remove_project_variable"],
]
IDENTITY_BEGINNING: list[tuple[str, int, int, bool]] = [
    *[("create_user", number, number, number > 0) for number in range(3)],
    *[("create_team", number, 0, True) for number in range(2)],
    *[("add_member", number, number, number > 0) for number in range(3)],
    ("open_session", 0, 0, True),
]


class IdentityActor:
    """The steps; the complete actor runs the commands and knows the project."""

    p: str
    numbers: Iterator[int]

    async def run(self, command: Any, *keys: Any, **arguments: Any) -> None:
        raise AssertionError("the whole actor runs commands")

    def user(self, one: int) -> Any:
        return User.key(self.p, f"u{one % 4}")

    def team(self, one: int) -> Any:
        return Team.key(self.p, f"t{one % 3}")

    async def create_user(self, one: int, other: int, flag: bool) -> None:
        fields = {
            "email": f"{other}@x.test" if flag else "",
            "phone": "" if flag else f"+49{other}",
            "name": f"N{one}",
        }
        key = User.absent(self.p, f"u{one % 4}")
        await self.run(User.create, key, project_id=self.p, user_id=f"u{one % 4}", sealed_password="s", **fields)

    async def change_user(self, one: int, other: int, flag: bool) -> None:
        commands: list[tuple[Any, dict[str, Any]]] = [
            (User.change_name, {"name": f"M{other}"}),
            (User.change_email, {"email": f"{other}@y.test" if flag else ""}),
            (User.change_phone, {"phone": f"+1{other}" if flag else ""}),
            (User.set_password, {"sealed_password": f"s{other}"}),
            (User.change_status, {"enabled": flag}),
            (User.change_verification, {"channel": "email" if other else "phone", "verified": flag}),
            (User.change_labels, {"labels": ["vip", f"l{other}"] if flag else []}),
        ]
        command, arguments = commands[next(self.numbers) % len(commands)]
        await self.run(command, self.user(one), **arguments)

    async def open_session(self, one: int, other: int, flag: bool) -> None:
        session = Session(
            session_id=f"s{other}-{next(self.numbers) % 20}", digest="d", provider="email", expires_at=EXPIRES, ip="::1"
        )
        await self.run(User.open_session, self.user(one), session=session)

    async def close_session(self, one: int, other: int, flag: bool) -> None:
        await self.run(User.close_session, self.user(one), session_id=f"s{other}-{next(self.numbers) % 20}")

    async def close_sessions(self, one: int, other: int, flag: bool) -> None:
        await self.run(User.close_sessions, self.user(one))

    async def delete_user(self, one: int, other: int, flag: bool) -> None:
        left = [Team.absent(self.p, f"t{number}") for number in range(3 if flag else 1)]
        await self.run(projects.delete_user, self.user(one), *left)

    async def create_team(self, one: int, other: int, flag: bool) -> None:
        owner = Membership(membership_id=f"o{next(self.numbers)}", user_id=f"u{other}", roles=["owner"], confirmed=True)
        await self.run(
            projects.create_team,
            Team.absent(self.p, f"t{one % 3}"),
            project_id=self.p,
            team_id=f"t{one % 3}",
            name=f"T{one}",
            owner=owner if flag else None,
        )

    async def rename_team(self, one: int, other: int, flag: bool) -> None:
        await self.run(Team.rename, self.team(one), name=f"R{other}")

    async def add_member(self, one: int, other: int, flag: bool) -> None:
        member = Membership(membership_id=f"m{one}-{other}", user_id=f"u{other}", roles=["r"], confirmed=flag)
        await self.run(projects.add_member, self.team(one), self.user(other), membership=member)

    async def confirm_member(self, one: int, other: int, flag: bool) -> None:
        await self.run(Team.confirm_member, self.team(one), membership_id=f"m{one}-{other}")

    async def change_member(self, one: int, other: int, flag: bool) -> None:
        roles = ["owner", "dev"] if flag else []
        await self.run(Team.change_member, self.team(one), membership_id=f"m{one}-{other}", roles=roles)

    async def remove_member(self, one: int, other: int, flag: bool) -> None:
        await self.run(Team.remove_member, self.team(one), membership_id=f"m{one}-{other}")

    async def delete_team(self, one: int, other: int, flag: bool) -> None:
        await self.run(Team.delete, self.team(one))

    async def switch_service(self, one: int, other: int, flag: bool) -> None:
        service = ("functions", "rest", "users")[other]
        await self.run(Project.switch_service, Project.key(self.p), service=service, enabled=flag)

    async def add_platform(self, one: int, other: int, flag: bool) -> None:
        platform = Platform(platform_id=f"w{one}", type="web", name="w", hostname=f"h{other}.test")
        await self.run(Project.add_platform, Project.key(self.p), platform=platform)

    async def remove_platform(self, one: int, other: int, flag: bool) -> None:
        await self.run(Project.remove_platform, Project.key(self.p), platform_id=f"w{one}")

    async def add_project_variable(self, one: int, other: int, flag: bool) -> None:
        variable = Variable(variable_id=f"pv{other}", key=f"K{one}", sealed="s", secret=flag)
        await self.run(Project.add_variable, Project.key(self.p), variable=variable)

    async def change_project_variable(self, one: int, other: int, flag: bool) -> None:
        changes: dict[str, Any] = {"key": f"L{one}" if flag else None, "sealed": ("t", "fp"), "secret": True}
        await self.run(Project.change_variable, Project.key(self.p), variable_id=f"pv{other}", **changes)

    async def remove_project_variable(self, one: int, other: int, flag: bool) -> None:
        await self.run(Project.remove_variable, Project.key(self.p), variable_id=f"pv{other}")

"""Random histories: steps that an actor applies to one project, and the end at which followers catch up.

One file because each step is a method of the one actor that tests choose steps of by name.
"""

import itertools
import random
from collections.abc import Callable, Coroutine, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from annals.domain.commands import deployments, executions, functions, projects
from annals.domain.commands.executions import sweep_executions
from annals.domain.commands.functions import Revival, restore_function, revert_function
from annals.domain.deployment import Deployment
from annals.domain.errors import DomainError, FunctionNotFound
from annals.domain.execution import CallRequest, Execution, RunRecord
from annals.domain.function import Function
from annals.domain.origin import Origin, Remote
from annals.domain.policy import Policy, Retries, Scaling
from annals.domain.project import ApiKey, Installation, Platform, Project
from annals.domain.retention import Retention
from annals.domain.rule import Rule
from annals.domain.team import Membership, Team
from annals.domain.user import Session, User
from annals.domain.variables import Variable
from annals.projections import executions_fold
from annals.projections.following import FOLLOWING
from annals.projections.inline import TABLES
from annals.projections.replay import refill
from annals.projections.replay.replay import check
from annals.projections.replay.staging_tables import Comparison
from annals.store.log.follower import Follower
from annals.store.log.log import EventLog
from annals.store.postgres.listener import Listener
from tests.integration.projections.history import META, artefact, configuration

PROJECTS = itertools.count(1)

NOW = datetime(2030, 1, 1, tzinfo=UTC)

ATTEMPT_ACTIONS = ["change_policy", "request_twice", "request_twice", "attempt", "attempt", "redrive", "discard", "cut"]

IDENTITY_ACTIONS = [
    *["create_user", "create_user", "change_user", "change_user", "open_session", "open_session", "close_session"],
    *["close_sessions", "delete_user", "create_team", "create_team", "rename_team", "add_member", "add_member"],
    *["confirm_member", "change_member", "remove_member", "delete_team", "switch_service", "add_platform"],
    *["remove_platform", "add_project_variable", "change_project_variable", "remove_project_variable"],
]

REPOSITORY_ACTIONS = ["request_source", "fetch_source", "add_installation", "remove_installation"]

ACTIONS = [
    *["request", "request", "request", "claim", "complete", "complete", "fail", "cancel", "delete_execution"],
    *REPOSITORY_ACTIONS,
    *["upload", "upload", "claim_build", "start_build", "finish_build", "finish_build", "fail_build"],
    *["cancel_build", "recover_build", "delete_deployment", "activate"],
    *["create", "create", "update", "add_variable", "change_variable", "remove_variable", "delete_function"],
    *["sweep", "rename", "add_key", "revoke_key", "recreate_project", "follow"],
    *["create_rule", "create_rule", "delete_rule"],
    *["revert", "revert", *ATTEMPT_ACTIONS],
    *IDENTITY_ACTIONS,
]

Step = tuple[str, int, int, bool]

IDENTITY_BEGINNING: list[Step] = [
    *[("create_user", number, number, number > 0) for number in range(3)],
    *[("create_team", number, 0, True) for number in range(2)],
    *[("add_member", number, number, number > 0) for number in range(3)],
    ("open_session", 0, 0, True),
]

REPOSITORY_BEGINNING: list[Step] = [
    ("request_source", 3, 1, True),
    ("claim_build", 3, 0, True),
    ("fetch_source", 3, 0, True),
    ("add_installation", 0, 0, True),
]

BEGINNING: list[Step] = [
    ("recreate_project", 1, 0, False),
    *[("create", number, 0, number > 0) for number in range(3)],
    *[("upload", number, 0, True) for number in range(3)],
    *[("claim_build", number, 0, True) for number in range(3)],
    *REPOSITORY_BEGINNING,
    ("finish_build", 0, 0, True),
    *[("request", number, 0, number > 0) for number in range(3)],
    ("complete", 1, 0, True),
    *IDENTITY_BEGINNING,
]
"""Steps that create enough for most later steps to succeed."""


class Steps:
    """Applies steps to one project; a step that the domain rejects changes nothing."""

    def __init__(self, log: EventLog, project: str) -> None:
        self.log, self.p, self.numbers = log, project, itertools.count(1)
        self.followers = [
            Follower(name, following.handle, log.reader, Listener(log.database), batch=5)
            for name, following in FOLLOWING.items()
        ]

    async def do(self, name: str, one: int, other: int, flag: bool) -> None:
        step: Callable[[int, int, bool], Coroutine[Any, Any, object]] = getattr(self, name)
        try:
            await step(one, other, flag)
        except DomainError:
            return

    async def run(self, command: Any, *keys: Any, **arguments: Any) -> None:
        await self.log.run(command, *keys, meta=META, **arguments)

    def fn(self, one: int) -> Any:
        return Function.key(self.p, f"f{one % 3}")

    def dep(self, one: int) -> Any:
        return Deployment.key(self.p, f"d{one}")

    def exe(self, one: int) -> Any:
        return Execution.key(self.p, f"e{one}")

    async def incarnation(self, one: int) -> int:
        query = "SELECT sequence FROM functions WHERE stream_id = %s"
        return int(await self.log.database.value(query, (Function.stream(self.p, f"f{one % 3}"),)) or 1)


class IdentitySteps(Steps):
    """Steps for users, teams and a project's settings."""

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
            session_id=f"s{other}-{next(self.numbers) % 20}", digest="d", provider="email", expires_at=NOW, ip="::1"
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


class RepositorySteps(Steps):
    """Steps for sources in repositories and for installations."""

    async def request_source(self, one: int, other: int, flag: bool) -> None:
        await self.run(
            deployments.request_deployment,
            Deployment.absent(self.p, f"d{one}"),
            remote=Remote(owner="a", name="b", reference_type="tag", reference="1.*"),
            origin=Origin(repository_owner="a", branch="1.*"),
            project_id=self.p,
            function_id=f"f{other}",
            function_incarnation=await self.incarnation(other),
            deployment_id=f"d{one}",
            type="vcs",
            entrypoint="",
            commands="",
            activate=flag,
        )

    async def fetch_source(self, one: int, other: int, flag: bool) -> None:
        origin = Origin(repository_id="7", branch="1.2.0", commit_hash="c" * 40, root_directory="fn" if flag else "")
        source = artefact(f"r{one}", 20 + other)
        await self.run(
            Deployment.store_fetched, Deployment.key(self.p, f"d{one}"), epoch=1, source=source, origin=origin
        )

    async def add_installation(self, one: int, other: int, flag: bool) -> None:
        installation = Installation(
            installation_id=f"i{other}", provider="git" if flag else "github", organization="o", url="", sealed="s"
        )
        await self.run(Project.add_installation, Project.key(self.p), installation=installation)

    async def remove_installation(self, one: int, other: int, flag: bool) -> None:
        await self.run(Project.remove_installation, Project.key(self.p), installation_id=f"i{other}")


class RevertingSteps(Steps):
    """Reverts to any moment of a function, also with deleted deployments restored."""

    async def revert(self, one: int, other: int, flag: bool) -> None:
        key = Function.absent(self.p, f"f{one % 3}")
        newest = await self.log.reader.position()
        position = max(1, newest - 10 * other - one)
        then, now = await self.log.reader.aggregate_at(key, position), await self.log.load(key)
        if not isinstance(then, Function) or then.deleted:
            raise FunctionNotFound
        if now.deleted:
            await self.run(restore_function, key, then=then)
        revival = await self.revival(then, position) if flag else None
        named = revival.deployment_id if revival else then.deployment_id
        keys = [Deployment.absent(self.p, named)] if named else []
        arguments = {"then": then, "revival": revival, "incarnation": await self.incarnation(one)}
        await self.run(revert_function, Function.key(self.p, then.function_id), *keys, **arguments)

    async def revival(self, then: Function, position: int) -> Revival | None:
        """Revive a deployment that was ready. The API does so for deleted ones only."""
        key = Deployment.absent(self.p, then.deployment_id)
        former = await self.log.reader.aggregate_at(key, position)
        if not isinstance(former, Deployment) or former.source is None or former.artefact is None:
            return None
        own_id = f"r{position}"
        return Revival(deployment_id=own_id, former=former, source=former.source, artefact=former.artefact)


class AttemptSteps(Steps):
    """Runs of calls: policies, attempts, and dead letters."""

    async def change_policy(self, one: int, other: int, flag: bool) -> None:
        scaling = Scaling(min_warm=other, concurrency=one)
        policy = Policy(scaling=scaling, retries=Retries(attempts=3 if flag else 1))
        await self.run(functions.change_policy, self.fn(one), policy=policy)

    async def request_twice(self, one: int, other: int, flag: bool) -> None:
        """Request a call with two attempts."""
        retries = Retries(attempts=2, max_age_seconds=14 * 86_400 * 3650)
        await self.call(one, other, "/", trigger="schedule" if flag else "http", retries=retries)

    async def call(self, one: int, other: int, path: str, **recorded_events: Any) -> None:
        """Request a call of a function."""
        await self.run(
            Execution.request_run,
            Execution.absent(self.p, f"e{one}"),
            project_id=self.p,
            function_id=f"f{other}",
            function_incarnation=await self.incarnation(other),
            function_version=1,
            execution_id=f"e{one}",
            deployment_id="d0",
            request=CallRequest(method="POST", path=path),
            **recorded_events,
        )

    async def attempt(self, one: int, other: int, flag: bool) -> None:
        """Claim a waiting execution, and fail it."""
        ran = RunRecord(
            deployment_id="d1", function_version=3, environment_digest="x", specification="s-1vcpu-1gb", run_ms=31
        )  # fmt: skip
        execution = await self.log.load(self.exe(one))
        execution.claim("w")
        execution.fail(
            execution.epoch, "timeout", "late\0", now=NOW, status_code=500, ran=ran if flag else None, logs_size=other
        )  # fmt: skip
        await self.log.record([execution], meta=META)

    async def cut(self, one: int, other: int, flag: bool) -> None:
        """Cancel a running execution; its output is recorded later."""
        execution = await self.log.load(self.exe(one))
        execution.claim("w")
        execution.cancel()
        await self.log.record([execution], meta=META)
        execution.keep_output(execution.epoch, logs_size=other, errors_size=int(flag))
        await self.log.record([execution], meta=META)

    async def redrive(self, one: int, other: int, flag: bool) -> None:
        own_id = f"e{one}{other}"
        await self.run(
            executions.redrive_execution,
            self.exe(one),
            Execution.absent(self.p, own_id),
            function_id=f"f{other}",
            incarnation=await self.incarnation(other),
            execution_id=own_id,
            function_version=2,
            deployment_id="d1",
            request=CallRequest(method="POST", path="/"),
        )

    async def discard(self, one: int, other: int, flag: bool) -> None:
        incarnation = await self.incarnation(other)
        await self.run(
            executions.discard_execution, self.exe(one), function_id=f"f{other}", incarnation=incarnation
        )  # fmt: skip


class Actor(IdentitySteps, RepositorySteps, RevertingSteps, AttemptSteps):
    """Applies all kinds of steps."""

    async def create(self, one: int, other: int, flag: bool) -> None:
        key = Function.absent(self.p, f"f{one % 3}")
        recorded_events = configuration(schedule="* * * * *" if flag else "", timeout=other + 1)
        await self.run(
            Function.create, key, project_id=self.p, function_id=f"f{one % 3}", configuration=recorded_events
        )  # fmt: skip

    async def update(self, one: int, other: int, flag: bool) -> None:
        recorded_events = configuration(schedule="0 * * * *" if flag else "", entrypoint=f"{other}.js")
        await self.run(Function.update, self.fn(one), configuration=recorded_events)

    async def create_rule(self, one: int, other: int, flag: bool) -> None:
        await self.run(
            Rule.create,
            Rule.absent(self.p, f"r{one}"),
            project_id=self.p,
            rule_id=f"r{one}",
            domain=f"{self.p}-{other}.test",
            function_id=f"f{other}",
            function_incarnation=await self.incarnation(other),
            branch="main" if flag else "",
        )

    async def delete_rule(self, one: int, other: int, flag: bool) -> None:
        await self.run(Rule.delete, Rule.key(self.p, f"r{one}"))

    async def add_variable(self, one: int, other: int, flag: bool) -> None:
        variable = Variable(variable_id=f"v{other}", key=f"K{other}", sealed="s", secret=flag)
        await self.run(Function.add_variable, self.fn(one), variable=variable)

    async def change_variable(self, one: int, other: int, flag: bool) -> None:
        changes = {"key": f"L{other}" if flag else None, "sealed": ("t", "fp"), "secret": True}
        await self.run(Function.change_variable, self.fn(one), variable_id=f"v{other}", **changes)

    async def remove_variable(self, one: int, other: int, flag: bool) -> None:
        await self.run(Function.remove_variable, self.fn(one), variable_id=f"v{other}")

    async def delete_function(self, one: int, other: int, flag: bool) -> None:
        await self.run(Function.delete, self.fn(one))

    async def upload(self, one: int, other: int, flag: bool) -> None:
        await self.run(
            deployments.create_deployment,
            Deployment.absent(self.p, f"d{one}"),
            source=artefact(f"s{one}", 10 + one),
            project_id=self.p,
            function_id=f"f{other}",
            function_incarnation=await self.incarnation(other),
            deployment_id=f"d{one}",
            type="manual",
            entrypoint="index.js",
            commands="",
            activate=flag,
            size=1,
        )

    async def claim_build(self, one: int, other: int, flag: bool) -> None:
        await self.run(Deployment.claim_build, self.dep(one), worker="w")

    async def start_build(self, one: int, other: int, flag: bool) -> None:
        await self.run(Deployment.start_build, self.dep(one), epoch=1 + other)

    async def finish_build(self, one: int, other: int, flag: bool) -> None:
        await self.run(
            deployments.complete_build,
            self.fn(other),
            self.dep(one),
            epoch=1,
            artefact=artefact("a", 7),
            activate=flag,
            milliseconds=900,
            specification="s-1vcpu-1gb",
            logs_digest="",
            logs_size=other,
        )

    async def fail_build(self, one: int, other: int, flag: bool) -> None:
        recorded_events = {"specification": "s-2vcpu-2gb", "milliseconds": 10 * other, "logs_size": int(flag)}
        await self.run(
            Deployment.fail_build, self.dep(one), epoch=1, reason="timeout", message="", **recorded_events
        )  # fmt: skip

    async def cancel_build(self, one: int, other: int, flag: bool) -> None:
        await self.run(deployments.cancel_build, self.dep(one), function_id=f"f{other}", seconds=other)

    async def recover_build(self, one: int, other: int, flag: bool) -> None:
        await self.run(deployments.recover_build, self.dep(one), epoch=1 + other, attempts=2)

    async def delete_deployment(self, one: int, other: int, flag: bool) -> None:
        await self.run(deployments.delete_deployment, self.fn(other), self.dep(one))

    async def activate(self, one: int, other: int, flag: bool) -> None:
        await self.run(functions.activate_deployment, self.fn(other), self.dep(one))

    async def request(self, one: int, other: int, flag: bool) -> None:
        await self.call(one, other, "/\0", trigger="schedule" if other else "http", worker="w" if flag else "")

    async def claim(self, one: int, other: int, flag: bool) -> None:
        await self.run(Execution.claim, self.exe(one), worker="w")

    async def complete(self, one: int, other: int, flag: bool) -> None:
        ran = RunRecord(
            deployment_id="d1", function_version=2, environment_digest="x", specification="s-1vcpu-1gb", run_ms=77
        )  # fmt: skip
        execution = await self.log.load(self.exe(one))
        execution.complete(1, status_code=200 + other, headers=[], ran=ran, logs_size=int(flag))
        await self.log.record([execution], meta=META)

    async def fail(self, one: int, other: int, flag: bool) -> None:
        ran = RunRecord(deployment_id="d2", function_version=1, environment_digest="y", specification="", run_ms=5)
        execution = await self.log.load(self.exe(one))
        execution.fail(1, "crashed", "gone\0", now=NOW, status_code=500, ran=ran if flag else None, errors_size=other)
        await self.log.record([execution], meta=META)

    async def cancel(self, one: int, other: int, flag: bool) -> None:
        execution = await self.log.load(self.exe(one))
        execution.cancel()
        await self.log.record([execution], meta=META)

    async def delete_execution(self, one: int, other: int, flag: bool) -> None:
        execution = await self.log.load(self.exe(one))
        execution.delete(stale=flag)
        await self.log.record([execution], meta=META)

    async def sweep(self, one: int, other: int, flag: bool) -> None:
        query = "SELECT function_sequence, sequence FROM executions WHERE project_id = %s AND function_id = %s"
        rows = await self.log.database.rows(query, (self.p, f"f{one % 3}"))
        if rows:
            swept = rows[other % len(rows)]
            await self.run(
                sweep_executions,
                Retention.key(self.p),
                project_id=self.p,
                function_id=f"f{one % 3}",
                incarnation=swept["function_sequence"],
                up_to=swept["sequence"],
                reason="function_deleted" if flag else "age",
            )

    async def rename(self, one: int, other: int, flag: bool) -> None:
        await self.run(Project.rename, Project.key(self.p), name=f"P{one}")

    async def add_key(self, one: int, other: int, flag: bool) -> None:
        digest = f"{self.p}-{one}-{next(PROJECTS)}"
        key = ApiKey(key_id=f"k{one}-{other}", name="", digest=digest, scopes=["a", "b"])
        await self.run(Project.add_key, Project.key(self.p), key=key)

    async def revoke_key(self, one: int, other: int, flag: bool) -> None:
        await self.run(Project.revoke_key, Project.key(self.p), key_id=f"k{one}-{other}")

    async def recreate_project(self, one: int, other: int, flag: bool) -> None:
        if one == other == 0 and flag:
            await self.run(Project.delete, Project.key(self.p))
        await self.run(projects.create_project, Project.absent(self.p), project_id=self.p, name="New", keys=[])

    async def follow(self, one: int, other: int, flag: bool) -> None:
        await self.followers[one % len(self.followers)].catch_up()


def any_step(chance: random.Random) -> Step:
    return chance.choice(ACTIONS), chance.randrange(6), chance.randrange(3), chance.random() < 0.5


async def to_the_end(followers: Sequence[Follower]) -> None:
    """Let followers catch up in larger batches than before: the batch size makes no difference."""
    for follower in followers:
        follower.batch = 100
        while await follower.catch_up():
            pass


async def checked(log: EventLog, chance: random.Random) -> list[Comparison]:
    """Return the comparisons of a check, and of a check in small batches with a small buffer of executions."""
    found = await check(log.database, log.reader, report=lambda _: None)
    with pytest.MonkeyPatch.context() as small:
        small.setattr(refill, "BATCH", chance.randrange(5, 40))
        small.setattr(executions_fold, "MAX_BUFFERED", chance.randrange(4))
        return [*found, *await check(log.database, log.reader, TABLES, report=lambda _: None)]

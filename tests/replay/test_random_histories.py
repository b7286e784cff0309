"""After any random history a rebuild gives the served rows, and followers agree with it."""

import asyncio
import itertools
import random
import tempfile
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from annals.application.event_log import inline
from annals.domain.commands import deployments, functions, projects
from annals.domain.commands.executions import sweep_executions
from annals.domain.deployment import Deployment
from annals.domain.errors import DomainError
from annals.domain.execution import Execution, RunRecord
from annals.domain.function import Function
from annals.domain.project import ApiKey, Project
from annals.domain.retention import Retention
from annals.domain.rule import Rule
from annals.domain.team import Team
from annals.domain.user import User
from annals.domain.variables import Variable
from annals.projections.following import FOLLOWING
from annals.projections.inline import CONSTRAINT_ERRORS
from annals.store.content.blobs import Blobs
from annals.store.content.contents import Contents
from annals.store.log.follower import Follower
from annals.store.log.log import EventLog
from annals.store.postgres.database import Database
from annals.store.postgres.listener import Listener
from tests.integration.projections.history import META, artefact, configuration
from tests.replay.attempts import ATTEMPT_ACTIONS, NOW, AttemptActor
from tests.replay.ending import checked, to_the_end
from tests.replay.identity import IDENTITY_ACTIONS, IDENTITY_BEGINNING, IdentityActor
from tests.replay.repositories import REPOSITORY_ACTIONS, REPOSITORY_BEGINNING, RepositoryActor
from tests.replay.reverting import RevertingActor

PROJECTS = itertools.count(1)
STEPS = 220
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


@pytest.fixture(autouse=True)
def snapshot_of_every_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take a snapshot at each version, so that a check compares each with a fold of its events."""
    for aggregate in (Function, Retention, Team, User):
        monkeypatch.setattr(aggregate, "SNAPSHOT_EVERY", 1)


class Actor(IdentityActor, RepositoryActor, RevertingActor, AttemptActor):
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


async def differences(url: str, chance: random.Random) -> list[object]:
    database = await Database.open(url, size=4)
    with tempfile.TemporaryDirectory() as folder:
        contents = Contents(database, Blobs.open(folder))
        log = await EventLog.open(database, contents=contents, inline=inline, constraint_errors=CONSTRAINT_ERRORS)
        try:
            actor = Actor(log, f"p{next(PROJECTS)}")
            for step in [*BEGINNING, *(any_step(chance) for _ in range(STEPS))]:
                await actor.do(*step)
            await to_the_end(actor.followers)
            return [comparison for comparison in await checked(log, chance) if not comparison.same]
        finally:
            await log.close()
            await database.close()


def any_step(chance: random.Random) -> Step:
    return chance.choice(ACTIONS), chance.randrange(6), chance.randrange(3), chance.random() < 0.5


@pytest.mark.timeout(1200)
@settings(
    max_examples=12,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # a smaller seed is no simpler history
)
@given(seed=st.integers(0, 2**32))
def test_rebuild_of_any_history_gives_the_rows_that_were_served(database_url: str, seed: int) -> None:
    assert asyncio.run(differences(database_url, random.Random(seed))) == []

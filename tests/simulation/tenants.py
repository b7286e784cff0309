"""A project that is deleted and created again while clients fill it, as a part of random scenarios.

Each request names the incarnation that it was authorized for, and marks the resources that it creates with it.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from annals.application.deletion import QUERIES as ENDING
from annals.application.deletion import end_project
from annals.domain.commands.projects import create_project
from annals.domain.errors import DomainError
from annals.domain.project import Project
from annals.domain.user import User
from annals.domain.variables import Variable
from annals.projections.identity import QUERIES as IDENTITY
from annals.store.errors import DataKeyDeleted, ProjectReplaced
from annals.store.log.append_modes import QUERIES as APPEND
from annals.store.log.log import Meta, Recorded
from annals.store.log.request import Incarnation
from annals.store.secrets.vault import Vault, key_of
from tests.simulation.calls import META
from tests.simulation.clients import Client
from tests.simulation.nodes import Parts
from tests.simulation.statements_models import event_of
from tests.simulation.transactions import ProjectGone, ProjectNotEmpty, Row, Tx, on

if TYPE_CHECKING:
    from tests.simulation.world import World

REUSED = "reused"
_IDS = 2
_ACTS = ("create_function", "deploy", "request", "create_user", "set_variable", "reuse")
_WEIGHTS = (4, 4, 8, 5, 4, 1.5)


class Unwrapped:
    """A master key that does not encrypt data keys."""

    def refresh(self) -> bool:
        return False

    def wrap(self, project: str, key_id: str, key: bytes) -> bytes:
        return key

    def unwrap(self, project: str, key_id: str, wrapped: bytes) -> bytes:
        return wrapped


class Tenant:
    """The clients of the project. `secrets` holds the acknowledged values with their positions."""

    def __init__(self, world: "World", rng: random.Random) -> None:
        self._world, self._rng, self._number = world, rng, 0
        self._vaults: dict[int, tuple[Parts, Vault]] = {}
        self.secrets: list[tuple[int, str]] = []

    async def use(self, length: float) -> None:
        """Run random actions for a time."""
        self._begin("create", self._create)
        end = self._world.loop.time() + length
        while self._world.loop.time() < end:
            await asyncio.sleep(self._rng.random() ** 2 * length / 16)
            (act,) = self._rng.choices(_ACTS, _WEIGHTS)
            self._begin(act, getattr(self, f"_{act}"))

    def _begin(self, label: str, act: Callable[[Client], Awaitable[Any]]) -> None:
        client = Client(self._world, self._rng.choice(("api1", "api2")), REUSED)
        client.begin(f"{label} in {REUSED}", self._unless_replaced(act(client)))

    async def _unless_replaced(self, act: Awaitable[Any]) -> Any:
        try:
            return await act
        except (ProjectReplaced, DataKeyDeleted):  # the API authorizes it again, which is another request here
            return None

    async def _authorized(self) -> Meta | None:
        """Return the metadata of a request's events after a moment, or None if the project does not exist."""
        project = self._world.server.rows("projects").get(Project.stream(REUSED))
        await asyncio.sleep(self._rng.random() ** 3 * 2)
        if project is None:
            return None
        return Meta(actor=META.actor, incarnation=Incarnation(REUSED, project["sequence"]))

    async def _create_function(self, client: Client) -> Recorded | None:
        own_id = f"g{self._rng.randrange(_IDS)}"
        if (meta := await self._authorized()) is None or meta.incarnation is None:
            return None
        return await client.create_function(own_id, meta=meta, marker=str(meta.incarnation.position))

    async def _deploy(self, client: Client) -> Recorded | None:
        self._number += 1
        return await client.deploy(f"g{self._rng.randrange(_IDS)}", f"e{self._number}", activate=True)

    async def _request(self, client: Client) -> Recorded | None:
        self._number += 1
        return await client.request(f"g{self._rng.randrange(_IDS)}", f"y{self._number}")

    async def _create_user(self, client: Client) -> Recorded | None:
        own_id = f"u{self._rng.randrange(_IDS)}"
        parts = await client._parts()
        if (meta := await self._authorized()) is None or meta.incarnation is None:
            return None
        recorded_events: dict[str, Any] = {
            "name": str(meta.incarnation.position),
            "email": "",
            "phone": "",
            "sealed_password": "",
        }
        absent = User.absent(REUSED, own_id)
        return await parts.log.run(User.create, absent, meta=meta, project_id=REUSED, user_id=own_id, **recorded_events)

    async def _set_variable(self, client: Client) -> None:
        self._number += 1
        own_id, key, parts = f"v{self._number}", Project.key(REUSED), await client._parts()
        if (meta := await self._authorized()) is None:
            return
        sealed = await self._vault(parts).seal(REUSED, key.stream, own_id, "a value")
        variable = Variable(variable_id=own_id, key=f"K{self._number}", sealed=sealed, secret=True)
        recorded = await parts.log.run(Project.add_variable, key, meta=meta, variable=variable)
        self.secrets.append((recorded.position, sealed))

    def _vault(self, parts: Parts) -> Vault:
        masters: Any = Unwrapped()
        return self._vaults.setdefault(id(parts), (parts, Vault(parts.database, masters)))[1]

    async def _create(self, client: Client) -> Recorded:
        parts = await client._parts()
        absent = Project.absent(REUSED)
        return await parts.log.run(create_project, absent, meta=META, project_id=REUSED, name="reused", keys=[])

    async def _reuse(self, client: Client) -> None:
        parts = await client._parts()
        try:
            await end_project(parts.log, REUSED, META)
        except DomainError:  # another client deletes it too
            return
        await asyncio.sleep(self._rng.random() ** 3)
        await self._create(client)


def judge(world: "World", tenant: Tenant) -> None:
    """Check that no former incarnation left a resource, and that each acknowledged secret can be opened."""
    project = world.server.rows("projects").get(Project.stream(REUSED))
    since = project["sequence"] if project is not None else 0
    for table in ("functions", "users"):
        for stream, row in world.server.rows(table).items():
            if row["project_id"] == REUSED and (row["name"] != str(since) or row["sequence"] < since):
                world.fail(f"{stream} was created in {row['name']} and is in the project created at {since}")
    _judge_streams(world)
    key = world.server.rows("data_keys").get(REUSED)
    for position, sealed in tenant.secrets:
        if project is not None and position > since and (key is None or key_of(sealed) != key["key_id"]):
            world.fail(f"the secret acknowledged at {position} is sealed with a deleted key")


def _judge_streams(world: "World") -> None:
    """Check that a stream without a row has ended: otherwise a later project could not use its id."""
    for stream, events in world.server.streams.items():
        kind, project, _ = f"{stream}::".split(":")[:3]
        if kind in {"function", "user"} and project == REUSED:
            there = stream in world.server.rows(f"{kind}s")
            if there == events[-1]["topic"].endswith(".deleted"):
                world.fail(f"{stream} ends in {events[-1]['topic']}, and {'has a' if there else 'has no'} row")


@on(APPEND["projects"])
def projects(tx: Tx, p: Any) -> list[Row]:
    for project, position in zip(p["projects"], p["incarnations"], strict=True):
        row = tx.get("projects", Project.stream(project))
        if row is None or row["sequence"] != position:
            raise ProjectGone
    return []


@on(ENDING["empty"])
def empty(tx: Tx, p: Any) -> list[Row]:
    if any(row["project_id"] == p["project_id"] for table in ("functions", "users") for _, row in tx.rows(table)):
        raise ProjectNotEmpty
    return []


def _some(tx: Tx, table: str, column: str, p: Any) -> list[Row]:
    rows = sorted((row for _, row in tx.rows(table)), key=lambda row: int(row["sequence"]))
    return [{"id": row[column]} for row in rows if row["project_id"] == p["project_id"]][: p["limit"]]


@on(ENDING["some_functions"])
def some_functions(tx: Tx, p: Any) -> list[Row]:
    return _some(tx, "functions", "function_id", p)


@on(ENDING["some_users"])
def some_users(tx: Tx, p: Any) -> list[Row]:
    return _some(tx, "users", "user_id", p)


@on(ENDING["some_teams"])
@on(ENDING["end_idempotency_keys"])
def nothing(tx: Tx, p: Any) -> list[Row]:
    return []


@on(IDENTITY["user_created"])
def user_created(tx: Tx, p: Any) -> list[Row]:
    if tx.get("users", p["stream"]) is not None:
        return []
    recorded_events = {name: p[name] for name in ("project_id", "user_id", "name")}
    row = {"version": p["version"], "sequence": event_of(tx, p)["notification_id"], **recorded_events}
    return [tx.put("users", p["stream"], row)]


@on(IDENTITY["user_deleted"])
def user_deleted(tx: Tx, p: Any) -> list[Row]:
    tx.drop("users", p["stream"])
    return []

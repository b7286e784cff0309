"""Races with a project that is deleted and created again while its values are sealed with the real vault."""

import asyncio
import random
from typing import Any

from annals.application.event_log import QUERIES as EVENT_LOG
from annals.domain.commands.projects import create_project
from annals.domain.errors import DomainError
from annals.domain.project import Project
from annals.domain.variables import Variable
from annals.projections.projects import QUERIES as PROJECTS
from annals.store.errors import DataKeyDeleted, DataKeyReplaced, StoreUnavailable
from annals.store.log.append_modes import QUERIES as APPEND
from annals.store.secrets.vault import QUERIES as VAULT
from annals.store.secrets.vault import Vault, key_of
from tests.simulation.calls import META
from tests.simulation.nodes import Parts
from tests.simulation.races import race, soon, start_instance
from tests.simulation.scenario import calm
from tests.simulation.statements_models import event_of
from tests.simulation.tenants import REUSED, Unwrapped
from tests.simulation.transactions import DataKeyGone, Row, Tx, on
from tests.simulation.world import World

WRITES = 12
_ATTEMPTS = 6


@race
async def project_reuse_meets_sealing(world: World, rng: random.Random) -> None:
    """Each acknowledged value of the present project is sealed with the project's present key.

    No process is notified of the deletion or polls in time: only the check of the append protects it.
    """
    clients = await start_instance(world)
    masters: Any = Unwrapped()
    processes = [await client._parts() for client in clients]
    vaults = [Vault(parts.database, masters) for parts in processes]
    await clients[0].begin("create", _create(processes[0]))
    acknowledged: list[tuple[int, str]] = []

    async def write(number: int) -> None:
        await soon(rng, 1.0)
        side = rng.randrange(2)
        if (written := await _set(processes[side], vaults[side], number)) is not None:
            acknowledged.append(written)

    async def reuse() -> None:
        for _ in range(rng.randrange(1, 4)):
            await soon(rng, 0.5)
            await _until_done(processes[1], delete=True)
            await _until_done(processes[1], delete=False)

    tasks = [clients[number % 2].begin(f"set v{number}", write(number)) for number in range(WRITES)]
    await asyncio.wait([*tasks, clients[1].begin("reuse", reuse())], timeout=60)
    await calm(world)
    _judge(world, acknowledged)


def _judge(world: World, acknowledged: list[tuple[int, str]]) -> None:
    project = world.server.rows("projects").get(Project.stream(REUSED))
    key = world.server.rows("data_keys").get(REUSED)
    if project is None:
        world.fail("the project was not created again")
        return
    for position, sealed in acknowledged:
        if position > project["sequence"] and (key is None or key_of(sealed) != key["key_id"]):
            world.fail(f"the value acknowledged at {position} is sealed with a deleted key")


async def _create(parts: Parts) -> Any:
    return await parts.log.run(
        create_project, Project.absent(REUSED), meta=META, project_id=REUSED, name="reused", keys=[]
    )


async def _until_done(parts: Parts, *, delete: bool) -> None:
    for _ in range(_ATTEMPTS):
        try:
            if delete:
                await parts.log.run(Project.delete, Project.key(REUSED), meta=META)
            else:
                await _create(parts)
        except DomainError:  # done already, by an attempt whose answer was lost
            return
        except StoreUnavailable:
            continue
        return


async def _set(parts: Parts, vault: Vault, number: int) -> tuple[int, str] | None:
    """Set a variable as the API does. Return its position and value, or None if it was refused."""
    own_id, key = f"v{number}", Project.key(REUSED)
    for _ in range(_ATTEMPTS):
        try:
            sealed = await vault.seal(REUSED, key.stream, own_id, "a value")
            variable = Variable(variable_id=own_id, key=f"K{number}", sealed=sealed, secret=True)
            recorded = await parts.log.run(Project.add_variable, key, meta=META, variable=variable)
        except DataKeyReplaced:
            vault.forget(REUSED)
        except (DomainError, DataKeyDeleted, StoreUnavailable):
            return None
        else:
            return recorded.position, sealed
    return None


@on(VAULT["find"])
def find(tx: Tx, p: Any) -> list[Row]:
    row = tx.get("data_keys", p["project"])
    return [] if row is None else [row]


@on(VAULT["add"])
def add(tx: Tx, p: Any) -> list[Row]:
    there = tx.get("projects", Project.stream(p["project"])) is not None
    if there and tx.get("data_keys", p["project"]) is None:
        tx.put("data_keys", p["project"], {"key_id": p["key_id"], "wrapped": p["wrapped"]})
    return []


@on(APPEND["data_keys"])
def data_keys(tx: Tx, p: Any) -> list[Row]:
    for project, key_id in zip(p["projects"], p["keys"], strict=True):
        row = tx.get("data_keys", project)
        if row is None or row["key_id"] != key_id:
            raise DataKeyGone
    return []


@on(PROJECTS["created"])
def created(tx: Tx, p: Any) -> list[Row]:
    if tx.get("projects", p["stream"]) is not None:
        return []
    named = {"stream_id": p["stream"], "project_id": p["project_id"], "variables_version": 1}
    return [tx.put("projects", p["stream"], {**named, "sequence": event_of(tx, p)["notification_id"]})]


@on(PROJECTS["deleted"])
def deleted(tx: Tx, p: Any) -> list[Row]:
    row = tx.get("projects", p["stream"])
    tx.drop("projects", p["stream"])
    for table in ("functions", "deployments", "users"):
        for key, other in tx.rows(table):
            if row is not None and other["project_id"] == row["project_id"]:
                tx.drop(table, key)
    for key, _ in tx.rows("counters"):
        if row is not None and key[0] == row["project_id"]:
            tx.drop("counters", key)
    return []


@on(EVENT_LOG["contents_of_project"])
@on(EVENT_LOG["hold_project"])
@on(PROJECTS["variable_added"])
def nothing(tx: Tx, p: Any) -> list[Row]:
    return []


@on(EVENT_LOG["data_key_of_project"])
def data_key_of_project(tx: Tx, p: Any) -> list[Row]:
    row = tx.get("projects", p["stream"])
    if row is not None:
        tx.drop("data_keys", row["project_id"])
    return []

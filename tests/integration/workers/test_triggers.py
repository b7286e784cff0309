"""Triggered functions: one execution for each event and function, with the event's resource."""

import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest

from annals.application.executions.triggers import DEEPEST, Triggers, triggered_id
from annals.domain.commands.projects import create_team
from annals.domain.team import Membership, Team
from annals.domain.user import User
from annals.store.content.blobs import BlobError
from annals.store.content.contents import PREFIX, ROW_LIMIT
from annals.store.log.follower import Follower
from annals.store.log.log import Meta
from annals.store.secrets.tokens import EPHEMERAL_KEYS, Claims, verify
from annals.workers.followers import triggers_follower
from tests.integration.workers.world import META, PROJECT, World


def follower(world: World) -> Follower:
    return triggers_follower(Triggers(world.log, world.vault), world.log.reader, world.listener)


async def followed(world: World) -> None:
    triggers = follower(world)
    while await triggers.catch_up():
        pass


async def user(world: World, user_id: str = "u", *, name: str = "Ada", meta: Meta = META) -> int:
    """Make a user, and return the event's position."""
    made = await world.log.run(
        User.create,
        User.absent(PROJECT, user_id),
        meta=meta,
        project_id=PROJECT,
        user_id=user_id,
        name=name,
        email=f"{user_id}@example.com",
    )
    return made.position


async def change(world: World, user_id: str, decide: Any, *, meta: Meta = META) -> None:
    known = await world.log.load(User.key(PROJECT, user_id))
    decide(known)
    await world.log.record([known], meta=meta)


async def triggered(world: World) -> list[dict[str, Any]]:
    return await world.database.rows("SELECT * FROM executions WHERE trigger = 'event' ORDER BY sequence")


async def ran(world: World) -> None:
    worker = world.executions(await world.process_lease())
    for row in await triggered(world):
        await worker.run(row["stream_id"])


async def test_subscribed_function_runs_with_the_events_resource(world: World) -> None:
    incarnation = await world.built(events=["users.*.create"])
    position = await user(world)

    await followed(world)
    await ran(world)

    [row] = await triggered(world)
    assert row["execution_id"] == triggered_id(incarnation, position)
    assert (row["request_method"], row["request_path"], row["status"]) == ("POST", "/", "completed")
    [run] = world.executor.runs
    headers = dict(run.headers)
    assert (headers["x-appwrite-trigger"], headers["x-appwrite-event"]) == ("event", "users.u.create")
    assert headers["content-type"] == "application/json"
    assert headers["user-agent"].startswith("Appwrite/")
    body = msgspec.json.decode(run.body)
    assert (body["$id"], body["name"], body["email"], body["status"]) == (
        "u",
        "Ada",
        "u@example.com",
        True,
    )
    assert "password" not in body
    recorded_event = await world.log.reader.at(row["sequence"])
    assert recorded_event is not None
    metadata = recorded_event.event.metadata
    assert (metadata["causation"], metadata["correlation"]) == (str(position), "r1")


async def test_triggered_function_gets_the_resource_as_of_the_event(world: World) -> None:
    await world.built(events=["users.u.update.name", "users.*.delete"])
    await user(world)
    await change(world, "u", lambda known: known.change_name("Grace"))
    await change(world, "u", lambda known: known.change_name("Edsger"))
    await change(world, "u", lambda known: known.delete())

    await followed(world)
    await ran(world)

    names = [msgspec.json.decode(run.body)["name"] for run in world.executor.runs]
    assert names == ["Grace", "Edsger", "Edsger"]


async def test_event_seen_twice_triggers_once(world: World) -> None:
    await world.built(events=["users.*"])
    await user(world)
    await followed(world)
    await world.database.execute("UPDATE checkpoints SET position = 0 WHERE name = 'triggers'")

    await followed(world)

    assert len(await triggered(world)) == 1


async def test_triggers_wait_for_an_absent_blob_store(world: World, tmp_path: Path) -> None:
    await world.built(events=["users.*.create"])
    await user(world, name="A" * 2 * ROW_LIMIT)
    prefix = tmp_path / "blobs" / PREFIX
    shutil.rmtree(prefix, ignore_errors=True)
    prefix.write_text("in the way of what is to lie below")
    triggers = follower(world)
    with pytest.raises(BlobError):  # which passes: poison would be another error
        await triggers.catch_up()

    prefix.unlink()
    await followed(world)

    await ran(world)
    [run] = world.executor.runs
    assert msgspec.json.decode(run.body)["name"] == "A" * 2 * ROW_LIMIT


async def test_subscribed_function_runs_once_for_several_matching_patterns(world: World) -> None:
    await world.built("f", events=["users.*", "users.*.create", "users.u.create"])
    await world.built("g", events=["users.*.create"])
    await world.built("h", events=["users.*.delete", "teams.*"])
    await world.function("i", events=["users.*"])

    await user(world)
    await followed(world)

    assert sorted(row["function_id"] for row in await triggered(world)) == ["f", "g"]


async def test_membership_event_carries_its_user_and_team(world: World) -> None:
    await world.built(events=["teams.*.memberships.*.create"])
    await user(world)
    crew: dict[str, Any] = {"project_id": PROJECT, "team_id": "t", "name": "Crew", "owner": None}
    await world.log.run(create_team, Team.absent(PROJECT, "t"), meta=META, **crew)
    team = await world.log.load(Team.key(PROJECT, "t"))
    team.add_member(Membership(membership_id="m", user_id="u", roles=["owner"], confirmed=True))
    await world.log.record([team], meta=META)

    await followed(world)
    await ran(world)

    body = msgspec.json.decode(world.executor.runs[0].body)
    assert (body["$id"], body["teamName"], body["userName"], body["roles"]) == (
        "m",
        "Crew",
        "Ada",
        ["owner"],
    )


async def test_key_of_a_triggered_function_carries_its_depth(world: World) -> None:
    await world.built(events=["users.*.create"])
    await user(world, meta=Meta(actor="key:ephemeral", depth="2"))

    await followed(world)
    await ran(world)

    key = dict(world.executor.runs[0].headers)["x-appwrite-key"].removeprefix("ephemeral_")
    assert verify(key, await world.vault.derive(PROJECT, EPHEMERAL_KEYS), 0, Claims).depth == 3


async def test_function_that_triggers_itself_is_stopped(world: World) -> None:
    await world.built(events=["users.*.create"])
    await user(world, "last", meta=Meta(actor="key:ephemeral", depth=str(DEEPEST - 1)))
    await user(world, "beyond", meta=Meta(actor="key:ephemeral", depth=str(DEEPEST)))

    await followed(world)
    await ran(world)

    assert [msgspec.json.decode(run.body)["$id"] for run in world.executor.runs] == ["last"]

"""A backup restored into an empty instance is the same instance: log, contents, keys, and every read model."""

from pathlib import Path

import pytest

from annals.domain.commands.projects import create_project
from annals.domain.function import Function
from annals.domain.project import Project
from annals.store.coordination.pauses import SCHEDULES, Pauses
from annals.store.errors import MasterKeyWrong, UnknownTopic
from annals.store.log.archives import Archives
from annals.store.log.log import Meta
from annals.store.portable.export import ExportSelection, LogAltered
from annals.store.portable.loading import LogNotEmpty
from annals.store.portable.reading import ExportInvalid
from annals.store.proof.destinations import Destinations
from annals.store.proof.notes import existing_key
from annals.store.proof.verification import Verification
from tests.integration.portable.instances import SECRET, Instance
from tests.integration.projections.history import META, F, P

BACKUP = ExportSelection(contents=True, backup=True)


async def test_restored_instance_equals_the_one_that_was_backed_up(
    here: Instance, there: Instance, tmp_path: Path
) -> None:
    await here.follow()
    done = await here.export(tmp_path / "b", BACKUP)

    loaded = await there.load(tmp_path / "b", backup=True)

    await there.follow()
    assert await there.everything() == await here.everything()
    assert (done.contents, done.blobs) == (3, 2)
    assert loaded.root == loaded.summary.checkpoint.root
    sealed = await there.database.value("SELECT sealed FROM variables WHERE variable_id = 'v1'")
    assert await there.vault.open(P, Function.stream(P, F), "v1", sealed) == SECRET


async def test_restored_instance_goes_on_and_proves_itself(here: Instance, there: Instance, tmp_path: Path) -> None:
    done = await here.export(tmp_path / "b", BACKUP)
    await there.load(tmp_path / "b", backup=True)

    there.history.incarnations = here.history.incarnations
    recorded = await there.history.update(name="Later")
    again = await there.export(tmp_path / "again", BACKUP)

    assert recorded.position == done.position + 1
    assert again.events == done.events + 1
    destinations = Destinations(there.log.contents.blobs)
    verifier = existing_key(there.settings.seal_key).verifier
    verdict = await Verification(
        there.database, Archives(there.database, destinations.own), verifier, destinations
    ).run()
    assert verdict.ok
    assert verdict.proven_position == recorded.position


async def test_schedules_pause_until_a_person_resumes_them(here: Instance, there: Instance, tmp_path: Path) -> None:
    await here.export(tmp_path / "b", BACKUP)

    loaded = await there.load(tmp_path / "b", backup=True, hold="Restored.")

    holds = Pauses(there.database)
    assert loaded.held
    assert await holds.find(SCHEDULES) is not None
    assert await holds.release(SCHEDULES)
    assert await holds.find(SCHEDULES) is None
    assert await there.database.value("SELECT position FROM checkpoints WHERE name = 'relay'") > 0


async def test_load_replaces_the_events_of_the_first_start(here: Instance, there: Instance, tmp_path: Path) -> None:
    await here.export(tmp_path / "b", BACKUP)
    absent = Project.absent("default")
    await there.log.run(create_project, absent, meta=Meta(actor="cli:me"), project_id="default", name="D", keys=[])

    await there.load(tmp_path / "b", backup=True)

    assert await there.rows("projects") == await here.rows("projects")


async def test_log_that_is_not_empty_stays_as_it_is(here: Instance, there: Instance, tmp_path: Path) -> None:
    await here.export(tmp_path / "b", BACKUP)
    await there.history.project()
    await there.history.function()
    before = await there.everything()

    with pytest.raises(LogNotEmpty):
        await there.load(tmp_path / "b")

    assert await there.everything() == before


async def test_another_master_key_is_refused_before_anything_is_written(
    here: Instance, there: Instance, tmp_path: Path
) -> None:
    await here.export(tmp_path / "b", BACKUP)
    there.settings.master_key.unlink()
    before = await there.everything()

    with pytest.raises(MasterKeyWrong, match=r"was sealed under another master key.* on a line of its own in .*"):
        await there.load(tmp_path / "b", backup=True)

    assert await there.everything() == before
    with there.settings.master_key.open("ab") as file:
        file.write(here.settings.master_key.read_bytes())
    await there.load(tmp_path / "b", backup=True)
    assert await there.log.reader.position() == await here.log.reader.position()


async def test_event_that_this_version_does_not_know_is_refused(
    here: Instance, there: Instance, tmp_path: Path
) -> None:
    await here.database.execute(
        "INSERT INTO events (originator_id, originator_version, topic, state, recorded_at)"
        " VALUES ('robot:p:r', 1, 'robot.built', '{}', now())"
    )
    await here.export(tmp_path / "b", BACKUP)

    with pytest.raises(UnknownTopic):
        await there.load(tmp_path / "b")

    assert await there.rows("events") == []


async def test_log_that_was_altered_is_not_exported(here: Instance, tmp_path: Path) -> None:
    await here.export(tmp_path / "good", BACKUP)
    await here.database.execute("UPDATE events SET topic = 'function.deleted' WHERE notification_id = 3")

    with pytest.raises(LogAltered, match="Position 3 "):
        await here.export(tmp_path / "bad", BACKUP)

    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["good"]


async def test_restore_wants_a_backup(here: Instance, there: Instance, tmp_path: Path) -> None:
    await here.export(tmp_path / "e", ExportSelection(contents=True))

    with pytest.raises(ExportInvalid, match="annals import"):
        await there.load(tmp_path / "e", backup=True)


async def test_projects_export_can_be_loaded_alone(here: Instance, there: Instance, tmp_path: Path) -> None:
    await here.log.run(
        create_project, Project.absent("z"), meta=META, project_id="z", name="Another", keys=[]
    )  # fmt: skip
    done = await here.export(tmp_path / "e", ExportSelection(project=P, contents=True))

    loaded = await there.load(tmp_path / "e")

    assert not loaded.summary.whole
    assert loaded.summary.events == done.events
    assert await there.rows("functions") == await here.rows("functions")
    assert await there.rows("executions") == await here.rows("executions")
    assert len(await there.rows("projects")) == 1

"""The read model of projects and keys, and the deletion of a project."""

from pathlib import Path

import pytest

from annals.application.deletion import end_project
from annals.domain.errors import ProjectAlreadyExists
from annals.domain.project import ApiKey, Project
from annals.store.content.contents import Content
from annals.store.errors import DataKeyDeleted
from annals.store.secrets.vault import Vault, master_key
from tests.integration.projections.history import META, History, P


async def test_project_begins_with_its_keys(history: History) -> None:
    row = await history.database.row("SELECT * FROM projects")
    key = await history.database.row("SELECT * FROM keys")

    assert row is not None
    assert key is not None
    assert (row["project_id"], row["name"]) == (P, "Main")
    assert (key["key_id"], key["digest"], key["scopes"]) == ("k", "digest-p", ["functions.read"])
    with pytest.raises(ProjectAlreadyExists):
        await history.project()


async def test_project_keys_and_name_can_be_changed(history: History) -> None:
    key = ApiKey(key_id="k2", name="ci", digest="other", scopes=[])
    added = await history.log.run(Project.add_key, Project.key(P), meta=META, key=key)
    assert [row["key_id"] for row in added.rows["keys"]] == ["k2"]

    await history.log.run(Project.revoke_key, Project.key(P), meta=META, key_id="k")
    renamed = await history.log.run(Project.rename, Project.key(P), meta=META, name="Other")

    assert renamed.rows["projects"][0]["name"] == "Other"
    left = await history.database.rows("SELECT key_id FROM keys")
    assert [row["key_id"] for row in left] == ["k2"]


async def test_deletion_of_a_project_deletes_all_its_rows(history: History) -> None:
    await history.function()
    await history.add_variable("v1", "KEY")
    await history.deploy("d1")
    await history.upload("d2")
    await history.claim_build("d2")
    await history.database.execute("INSERT INTO build_logs VALUES ('deployment:p:d2', 1, 1, 'installing')")
    await history.log.contents.put(Content("deployment:p:d1", "build", b"log"), 3)
    await history.project("q")

    await history.log.run(Project.delete, Project.key(P), meta=META)

    for table in ("functions", "variables", "deployments", "counters", "build_logs", "contents"):
        assert await history.database.rows(f"SELECT * FROM {table}") == [], table  # noqa: S608 - names of ours
    left = await history.database.rows("SELECT project_id FROM projects UNION ALL SELECT project_id FROM keys")
    assert [row["project_id"] for row in left] == ["q", "q"]


async def test_sealed_values_of_a_deleted_project_are_unreadable(history: History, tmp_path: Path) -> None:
    await history.project("q")
    vault = Vault(history.database, master_key(tmp_path / "master.key"))
    sealed = {project: await vault.seal(project, "owner", "name", "secret") for project in (P, "q")}

    await history.log.run(Project.delete, Project.key(P), meta=META)

    elsewhere = Vault(history.database, master_key(tmp_path / "master.key"))
    with pytest.raises(DataKeyDeleted):
        await elsewhere.open(P, "owner", "name", sealed[P])
    assert await elsewhere.open("q", "owner", "name", sealed["q"]) == "secret"


async def test_new_project_with_a_deleted_id_may_reuse_function_ids(history: History) -> None:
    await history.function()
    await history.function(function_id="g")
    await end_project(history.log, P, META)

    await history.project()
    await history.function()

    assert await history.count("functions", "") == 1
    assert await history.row("functions", "g") is None

"""Stored secrets: bound to their use, unreadable without the master key, and deleted with their project."""

import asyncio
import stat
from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest

from annals.store.errors import DataKeyDeleted, MasterKeyWrong, SealBroken
from annals.store.postgres.database import Database
from annals.store.secrets.vault import Vault, forgetting_deleted_keys, master_key
from tests.integration.store.projects import add_project, delete_project

USE = ("p1", "function:p1:f1", "v1")


@pytest.fixture
async def vault(database: Database, tmp_path: Path) -> Vault:
    await add_project(database, "p1", "p2")
    return Vault(database, master_key(tmp_path / "master.key"))


@pytest.mark.parametrize("secret", ["", "hunter2", "ünïcode 🔑", "x" * 100_000])
async def test_sealed_value_opens_for_its_own_use(vault: Vault, secret: str) -> None:
    sealed = await vault.seal(*USE, secret)

    assert await vault.open(*USE, sealed) == secret
    assert not secret or secret not in sealed


async def test_equal_values_do_not_look_equal_sealed(vault: Vault) -> None:
    assert await vault.seal(*USE, "same") != await vault.seal(*USE, "same")


@pytest.mark.parametrize(
    "use", [("p1", "function:p1:f1", "v2"), ("p1", "function:p1:f2", "v1"), ("p1", "function:p1:f1v", "1")]
)
async def test_sealed_value_opens_for_no_other_use(vault: Vault, use: tuple[str, str, str]) -> None:
    sealed = await vault.seal(*USE, "secret")

    with pytest.raises(SealBroken):
        await vault.open(*use, sealed)


async def test_value_of_a_project_cannot_be_opened_by_another(vault: Vault) -> None:
    sealed = await vault.seal(*USE, "secret")
    await vault.seal("p2", "function:p2:f1", "v1", "theirs")

    with pytest.raises(DataKeyDeleted):
        await vault.open("p2", *USE[1:], sealed)


async def test_altered_value_does_not_open(vault: Vault) -> None:
    version, key_id, seal_id, body = (await vault.seal(*USE, "secret")).split(".")
    flipped = ("A" if body[20] != "A" else "B").join([body[:20], body[21:]])

    altered = [
        ".".join([version, key_id, seal_id, flipped]),
        ".".join([version, key_id, seal_id[::-1], body]),
        ".".join([version, key_id, seal_id, ""]),
        ".".join([version, key_id, seal_id, "not base64!"]),
        ".".join(["v2", key_id, seal_id, body]),
        "",
    ]
    for sealed in altered:
        with pytest.raises(SealBroken):
            await vault.open(*USE, sealed)


async def test_processes_that_begin_together_agree_on_one_key(database: Database, tmp_path: Path) -> None:
    await add_project(database, "p1")
    vaults = [Vault(database, master_key(tmp_path / "master.key")) for _ in range(5)]

    sealed = await asyncio.gather(*(vault.seal(*USE, str(n)) for n, vault in enumerate(vaults)))

    assert [await vaults[0].open(*USE, one) for one in sealed] == ["0", "1", "2", "3", "4"]
    assert await database.value("SELECT count(*) FROM data_keys") == 1


async def test_after_a_restart_the_same_master_key_opens_and_another_is_refused(
    database: Database, vault: Vault, tmp_path: Path
) -> None:
    sealed = await vault.seal(*USE, "secret")

    assert await Vault(database, master_key(tmp_path / "master.key")).open(*USE, sealed) == "secret"
    with pytest.raises(MasterKeyWrong, match="first used with"):
        await Vault(database, master_key(tmp_path / "another.key")).open(*USE, sealed)


async def test_deleting_a_projects_key_makes_its_secrets_unreadable_and_no_others(
    database: Database, vault: Vault, tmp_path: Path
) -> None:
    sealed = await vault.seal(*USE, "secret")
    others = await vault.seal("p2", "o", "v", "theirs")

    await delete_project(database, "p1")
    vault.forget("p1")

    for one in (vault, Vault(database, master_key(tmp_path / "master.key"))):
        with pytest.raises(DataKeyDeleted):
            await one.open(*USE, sealed)
        assert await one.open("p2", "o", "v", others) == "theirs"


async def test_key_deletion_reaches_the_cache_of_every_process_at_once(
    database: Database, vault: Vault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("annals.store.secrets.vault.FRESH_SECONDS", 3600.0)
    other = Vault(database, master_key(tmp_path / "master.key"))
    async with forgetting_deleted_keys(database, other):
        former = await other.seal(*USE, "former")
        assert await _opens(other, former)
        await delete_project(database, "p1")
        await add_project(database, "p1")

        async with asyncio.timeout(30):
            while await _opens(other, former):
                await asyncio.sleep(0.01)
        sealed = await other.seal(*USE, "by the process that had cached the former key")

    assert await vault.open(*USE, sealed) == "by the process that had cached the former key"


async def test_confirmed_key_replaces_a_cached_one_without_a_notification(
    database: Database, vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("annals.store.secrets.vault.FRESH_SECONDS", 3600.0)
    former = await vault.seal(*USE, "former")
    await delete_project(database, "p1")

    vault.confirm("p1", None)

    with pytest.raises(DataKeyDeleted):
        await vault.open(*USE, former)
    with pytest.raises(DataKeyDeleted):
        await vault.seal(*USE, "for a project that is gone")


@pytest.mark.parametrize("heard", ["confirm", "forget", "forget all"])
async def test_key_that_was_read_before_its_deletion_is_not_cached_after_it(
    database: Database, vault: Vault, monkeypatch: pytest.MonkeyPatch, heard: str
) -> None:
    monkeypatch.setattr("annals.store.secrets.vault.FRESH_SECONDS", 3600.0)
    former = await vault.seal(*USE, "former")
    vault.forget("p1")
    read, go_on, row = asyncio.Event(), asyncio.Event(), database.row

    async def slow_row(query: str, params: Any = ()) -> Any:
        found = await row(query, params)
        read.set()
        await go_on.wait()
        return found

    with monkeypatch.context() as patched:
        patched.setattr(database, "row", slow_row)
        opening = asyncio.create_task(vault.open(*USE, former))
        await read.wait()
        await delete_project(database, "p1")
        {"confirm": lambda: vault.confirm("p1", "another"), "forget": lambda: vault.forget("p1")}.get(
            heard, lambda: vault.forget(None)
        )()
        go_on.set()
        assert await opening == "former"  # it had read the key before the deletion

    with pytest.raises(DataKeyDeleted):
        await vault.open(*USE, former)


async def test_deleted_project_gets_no_data_key(database: Database, vault: Vault) -> None:
    await delete_project(database, "p1")

    for work in (vault.seal(*USE, "secret"), vault.derive("p1", "tokens"), vault.fingerprint("p1", "secret")):
        with pytest.raises(DataKeyDeleted):
            await work
    assert await database.value("SELECT count(*) FROM data_keys WHERE project = 'p1'") == 0


async def _opens(vault: Vault, sealed: str) -> bool:
    try:
        return await vault.open(*USE, sealed) is not None
    except DataKeyDeleted:
        return False


async def test_fingerprints_tell_equal_values_of_a_project_and_nothing_across_projects(vault: Vault) -> None:
    assert await vault.fingerprint("p1", "a") == await vault.fingerprint("p1", "a")
    assert await vault.fingerprint("p1", "a") != await vault.fingerprint("p1", "b")
    assert await vault.fingerprint("p1", "a") != await vault.fingerprint("p2", "a")


def test_master_key_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "master.key"

    first = master_key(path)

    assert master_key(path).unwrap("p", "k", first.wrap("p", "k", b"a data key")) == b"a data key"
    assert len(b64decode(path.read_bytes())) == 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("content", [b"", b"\n", b"not base64!", b"c2hvcnQ="])
def test_file_that_holds_no_master_key_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "master.key").write_bytes(content)

    with pytest.raises(MasterKeyWrong, match="does not hold a master key"):
        master_key(tmp_path / "master.key")

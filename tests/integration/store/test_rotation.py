"""The rotation of the master key while processes run: every value stays readable for all of them."""

import asyncio
import stat
from pathlib import Path

import pytest

from annals.store.errors import MasterKeyWrong
from annals.store.postgres.database import Database
from annals.store.secrets.vault import Vault, master_key
from tests.integration.store.projects import add_project

USE = ("function:p:f", "v")


@pytest.fixture
async def path(database: Database, tmp_path: Path) -> Path:
    await add_project(database, "p", "new", *(f"p{n}" for n in range(5)), *(f"q{n}" for n in range(60)))
    return tmp_path / "master.key"


def process(database: Database, path: Path) -> Vault:
    """Return the vault of a process that starts now."""
    return Vault(database, master_key(path))


async def rotate(database: Database, path: Path) -> int:
    masters = master_key(path)
    masters.add()
    changed = await Vault(database, masters).rewrap()
    masters.retire()
    return changed


async def test_processes_that_run_go_on_through_a_rotation(database: Database, path: Path) -> None:
    running, idle = process(database, path), process(database, path)
    sealed = {f"p{n}": await running.seal(f"p{n}", *USE, f"secret {n}") for n in range(5)}

    assert await rotate(database, path) == 5
    await running.seal("new", *USE, "later")

    for vault in (running, idle, process(database, path)):
        await vault.prove()
        for number, (project, value) in enumerate(sealed.items()):
            assert await vault.open(project, *USE, value) == f"secret {number}"


async def test_former_key_opens_nothing_afterwards(database: Database, path: Path) -> None:
    sealed = await process(database, path).seal("p", *USE, "secret")
    former = path.read_bytes()
    await rotate(database, path)
    stolen = path.with_name("stolen.key")
    stolen.write_bytes(former)

    with pytest.raises(MasterKeyWrong):
        await process(database, stolen).prove()
    with pytest.raises(MasterKeyWrong):
        await process(database, stolen).open("p", *USE, sealed)
    assert path.with_name("master.key.former").read_bytes() == former
    assert stat.S_IMODE(path.with_name("master.key.former").stat().st_mode) == 0o600


async def test_data_keys_that_are_made_meanwhile_are_not_left_behind(database: Database, path: Path) -> None:
    vaults = [process(database, path) for _ in range(3)]
    sealed: dict[str, str] = {}

    async def create(vault: Vault, number: int) -> None:
        sealed[f"q{number}"] = await vault.seal(f"q{number}", *USE, "secret")

    async def rotated() -> None:
        masters = master_key(path)
        masters.add()
        vault = Vault(database, masters)
        await vault.rewrap()
        await creating
        assert await vault.rewrap() == 0, "left behind under the former key"
        masters.retire()

    creating = asyncio.gather(*(create(vaults[n % 3], n) for n in range(60)))
    await rotated()

    late = process(database, path)
    for project, value in sealed.items():
        assert await late.open(project, *USE, value) == "secret"


async def test_interrupted_rotation_is_resumed(database: Database, path: Path) -> None:
    sealed = await process(database, path).seal("p", *USE, "secret")
    master_key(path).add()  # and then it died

    assert await process(database, path).open("p", *USE, sealed) == "secret"
    masters = master_key(path)
    assert len(masters) == 2
    assert await Vault(database, masters).rewrap() == 1
    masters.retire()
    assert await process(database, path).open("p", *USE, sealed) == "secret"


async def test_every_rotation_adds_to_the_former_keys(database: Database, path: Path) -> None:
    seen = []
    for _ in range(3):
        seen.append(path.read_bytes() if path.exists() else b"")
        await rotate(database, path)

    former = path.with_name("master.key.former").read_bytes().split()
    assert len(former) == 3
    assert former[:2] == [seen[2].strip(), seen[1].strip()]


async def test_wrong_master_key_fails_at_the_start(database: Database, path: Path) -> None:
    await process(database, path).prove()
    await process(database, path).seal("p", *USE, "secret")

    with pytest.raises(MasterKeyWrong, match="first used with"):
        await process(database, path.with_name("another.key")).prove()

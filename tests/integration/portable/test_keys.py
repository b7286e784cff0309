"""An export with data keys moves everything; after an export without them, unreadable values are reported."""

import base64
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from annals.cli.export import KeysTarget, write
from annals.cli.load import KeysSource, Unreadable, load
from annals.cli.main import main
from annals.domain.function import Function
from annals.domain.project import Installation, Project
from annals.domain.user import User
from annals.store.portable import keys
from annals.store.portable.export import ExportSelection
from annals.store.portable.keys import KeysFileInvalid
from annals.store.secrets.vault import Vault, master_key
from tests.integration.portable.instances import SECRET, Instance
from tests.integration.projections.history import META, F, P

WHOLE = ExportSelection(contents=True)
PASSPHRASE = "correct horse battery"


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "MEMORY_KIB", 64)


@pytest.fixture
def elsewhere(there: Instance) -> Instance:
    """Return an empty instance with its own master key."""
    there.settings.master_key.write_bytes(base64.b64encode(b"the master key of another place!"))
    there.vault = Vault(there.database, master_key(there.settings.master_key))
    return there


async def variable_of(instance: Instance) -> str:
    sealed = await instance.database.value("SELECT sealed FROM variables WHERE variable_id = 'v1'")
    return await instance.vault.open(P, Function.stream(P, F), "v1", sealed)


async def add_other_sealed_values(instance: Instance) -> None:
    """Record a password and the credentials of two installations, one of them removed."""
    stream = User.stream(P, "ada")
    sealed = await instance.vault.seal(P, stream, "password", "a hash")
    await instance.log.run(
        User.create, User.absent(P, "ada"), meta=META, project_id=P, user_id="ada", name="Ada", email="ada@x.test",
        phone="", sealed_password=sealed,
    )  # fmt: skip
    for name in ("kept", "removed"):
        credentials = await instance.vault.seal(P, Project.stream(P), name, "{}")
        installation = Installation(
            installation_id=name, provider="git", organization="o", url="https://git.test/", sealed=credentials
        )
        await instance.log.run(Project.add_installation, Project.key(P), meta=META, installation=installation)
    await instance.log.run(Project.remove_installation, Project.key(P), meta=META, installation_id="removed")


async def test_export_with_keys_is_readable_under_another_master_key(
    here: Instance, elsewhere: Instance, tmp_path: Path
) -> None:
    await add_other_sealed_values(here)
    target = KeysTarget(tmp_path / "keys", PASSPHRASE)
    done = await write(here.log, here.settings, WHOLE, tmp_path / "e", keys=target)

    source = KeysSource((tmp_path / "keys").read_bytes(), PASSPHRASE)
    loaded = await load(
        elsewhere.log, elsewhere.settings, tmp_path / "e", verifier=None, hold="", backup=False, report=print,
        keys=source,
    )  # fmt: skip

    assert done.keys_file == str(tmp_path / "keys")
    assert (tmp_path / "keys").stat().st_mode & 0o777 == 0o600
    assert loaded.unreadable == Unreadable(0, 0, 0)
    assert await variable_of(elsewhere) == SECRET
    assert await elsewhere.rows("users") == await here.rows("users")


async def test_import_without_keys_counts_the_values_that_cannot_be_read(
    here: Instance, elsewhere: Instance, tmp_path: Path
) -> None:
    await add_other_sealed_values(here)
    await here.export(tmp_path / "e", WHOLE)

    loaded = await elsewhere.load(tmp_path / "e")

    assert loaded.unreadable == Unreadable(variables=1, passwords=1, installations=1)


@pytest.mark.parametrize("passphrase", ["wrong", ""])
async def test_wrong_passphrase_imports_nothing(
    here: Instance, elsewhere: Instance, tmp_path: Path, passphrase: str
) -> None:
    await write(here.log, here.settings, WHOLE, tmp_path / "e", keys=KeysTarget(tmp_path / "keys", PASSPHRASE))
    before = await elsewhere.everything()

    with pytest.raises(KeysFileInvalid, match="passphrase"):
        await load(
            elsewhere.log, elsewhere.settings, tmp_path / "e", verifier=None, hold="", backup=False, report=print,
            keys=KeysSource((tmp_path / "keys").read_bytes(), passphrase),
        )  # fmt: skip

    assert await elsewhere.everything() == before


async def test_keys_of_a_project_are_those_of_no_other(here: Instance, elsewhere: Instance, tmp_path: Path) -> None:
    await here.vault.seal("q", "owner", "name", "value")
    target = KeysTarget(tmp_path / "keys", PASSPHRASE)
    await write(here.log, here.settings, ExportSelection(project=P, contents=True), tmp_path / "e", keys=target)

    await load(
        elsewhere.log, elsewhere.settings, tmp_path / "e", verifier=None, hold="", backup=False, report=print,
        keys=KeysSource((tmp_path / "keys").read_bytes(), PASSPHRASE),
    )  # fmt: skip

    assert [row["project"] for row in await elsewhere.database.rows("SELECT project FROM data_keys")] == [P]
    assert await variable_of(elsewhere) == SECRET


def test_commands_take_the_passphrase_from_file_environment_and_terminal(
    here: Instance, elsewhere: Instance, tmp_path: Path
) -> None:
    (tmp_path / "passphrase").write_text(PASSPHRASE + "\n")

    def run(instance: Instance, *arguments: str, typed: str = "", **environment: str) -> Result:
        settings = instance.settings
        environment |= {"ANNALS_DATABASE_URL": settings.database_url, "ANNALS_DATA": str(settings.data)}
        return CliRunner().invoke(main, arguments, env=environment, input=typed)

    def export(name: str, *options: str, typed: str = "", **environment: str) -> Result:
        files = ("--output", str(tmp_path / name), "--with-keys", str(tmp_path / f"{name}.keys"))
        return run(here, "export", "--contents", *files, *options, typed=typed, **environment)

    short = export("short", KEYS_PASSPHRASE="short")
    assert (short.exit_code, "12 characters" in short.output) == (1, True), short.output
    assert not (tmp_path / "short").exists()
    assert export("typed", typed=f"{PASSPHRASE}\n{PASSPHRASE}\n").exit_code == 0
    assert export("env", KEYS_PASSPHRASE=PASSPHRASE).exit_code == 0
    done = export("file", "--passphrase-file", str(tmp_path / "passphrase"))
    assert done.exit_code == 0, done.output
    assert PASSPHRASE not in done.output
    refused = export("file", "--passphrase-file", str(tmp_path / "passphrase"))
    assert (refused.exit_code, "--force" in refused.output) == (1, True)

    files = (str(tmp_path / "file"), "--with-keys", str(tmp_path / "file.keys"))
    wrong = run(elsewhere, "import", *files, KEYS_PASSPHRASE="a wrong passphrase")
    assert (wrong.exit_code, "The passphrase does not open the keys file" in wrong.output) == (1, True)
    assert "Traceback" not in wrong.output
    imported = run(elsewhere, "import", *files, "--json", typed=f"{PASSPHRASE}\n")
    assert imported.exit_code == 0, imported.output
    reported = json.loads(imported.stdout.splitlines()[-1])
    assert reported["unreadable"] == {"variables": 0, "passwords": 0, "installations": 0}

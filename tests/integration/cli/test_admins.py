"""The commands that create admins, and the admin that the first start creates on request."""

import asyncio
import json
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner

from annals.app.identity.passwords import Passwords
from annals.cli.event_log import opened
from annals.cli.main import main
from annals.cli.users import first_admin, make_admin
from annals.domain.errors import UserAlreadyExists
from annals.settings import Invalid, Settings
from annals.store.secrets.vault import Vault, master_key
from tests.integration.conftest import database_url, postgres

__all__ = ["database_url", "postgres"]

EMAIL = "Root@x.test"


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    return Settings(data=tmp_path, database_url=database_url, admin_email=EMAIL)


def run(settings: Settings, *arguments: str) -> tuple[int, str]:
    environment = {"ANNALS_DATABASE_URL": settings.database_url, "ANNALS_DATA": str(settings.data)}
    result = CliRunner().invoke(main, ["users", *arguments], env=environment)
    return result.exit_code, result.output


def test_admin_is_made_listed_and_deleted(settings: Settings) -> None:
    code, text = run(settings, "create-admin", "--email", EMAIL, "--password", "password8", "--json")
    assert code == 0, text
    made = json.loads(text)
    assert made["email"] == "root@x.test"

    assert run(settings, "create-admin", "--email", EMAIL, "--password", "password8")[0] == 1
    assert [row["id"] for row in json.loads(run(settings, "list", "--json")[1])["users"]] == [made["id"]]
    assert run(settings, "delete", "--id", made["id"])[0] == 0
    assert json.loads(run(settings, "list", "--json")[1])["total"] == 0


@pytest.mark.parametrize(("email", "password"), [("no-address", "password8"), (EMAIL, "short")])
def test_invalid_address_or_password_is_reported(settings: Settings, email: str, password: str) -> None:
    code, text = run(settings, "create-admin", "--email", email, "--password", password)

    assert code == 1
    assert "must be" in text


def test_first_start_makes_an_admin_once(settings: Settings) -> None:
    async def starts() -> str:
        async with opened(settings) as log:
            await first_admin(settings, log)
            password = str(json.loads((settings.folder / "admin.json").read_text())["password"])
            await first_admin(settings, log)
            assert json.loads((settings.folder / "admin.json").read_text())["password"] == password
            row = await log.database.row("SELECT * FROM users WHERE project_id = 'console'")
            assert row is not None
            passwords = Passwords(Vault(log.database, master_key(settings.master_key)))
            assert await passwords.fits("console", row["user_id"], row["sealed_password"], password)
            with pytest.raises(UserAlreadyExists):
                await make_admin(log, settings, email="root@x.test", password="password8", name="")
            return str(row["email"])

    assert asyncio.run(starts()) == "root@x.test"
    assert stat.S_IMODE((settings.folder / "admin.json").stat().st_mode) == 0o600


def test_invalid_admin_address_stops_the_start(settings: Settings) -> None:
    async def start() -> None:
        wrong = Settings(data=settings.data, database_url=settings.database_url, admin_email="nobody")
        async with opened(wrong) as log:
            await first_admin(wrong, log)

    with pytest.raises(Invalid, match="ANNALS_ADMIN_EMAIL"):
        asyncio.run(start())

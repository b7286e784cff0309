"""The files that the commands `annals backup` and `annals export` write."""

import asyncio
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from annals.cli.event_log import opened
from annals.cli.main import main
from annals.settings import Settings
from annals.store.proof.notes import signing_key
from annals.store.secrets.vault import master_key
from tests.integration.conftest import database_url, postgres
from tests.integration.projections.history import History

__all__ = ["database_url", "postgres"]


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    settings = Settings(data=tmp_path / "data", database_url=database_url)
    master_key(settings.master_key)
    signing_key(settings.seal_key)

    async def fill() -> None:
        async with opened(settings) as log:
            await History(log, log.database).project()

    asyncio.run(fill())
    return settings


def run(settings: Settings, *arguments: str) -> Result:
    environment = {"ANNALS_DATABASE_URL": settings.database_url, "ANNALS_DATA": str(settings.data)}
    return CliRunner().invoke(main, arguments, env=environment)


@pytest.mark.parametrize("command", ["backup", "export"])
def test_output_replaces_an_existing_file_only_with_force(settings: Settings, tmp_path: Path, command: str) -> None:
    target = tmp_path / "kept.ndjson.zst"
    target.write_bytes(b"the only backup")

    refused = run(settings, command, "--output", str(target))

    assert refused.exit_code == 1
    assert "--force" in refused.output
    assert target.read_bytes() == b"the only backup"
    forced = run(settings, command, "--output", str(target), "--force", "--json")
    assert forced.exit_code == 0, forced.output
    assert target.stat().st_size == json.loads(forced.stdout)["bytes"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "kept.ndjson.zst"]

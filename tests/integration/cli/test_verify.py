"""`annals verify` and `annals replay --check` over rows that were edited by SQL."""

import asyncio
import json
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner

from annals.cli.event_log import opened
from annals.cli.main import main
from annals.domain.commands.projects import create_team
from annals.domain.team import Team
from annals.settings import Settings
from annals.store.log import snapshots
from annals.store.log.log import Meta
from annals.store.proof.notes import signing_key
from tests.integration.conftest import database_url, postgres
from tests.integration.projections.history import History, P

__all__ = ["database_url", "postgres"]

META = Meta(actor="user:u1")


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    return Settings(data=tmp_path, database_url=database_url)


def run(settings: Settings, *arguments: str) -> tuple[int, Any]:
    environment = {"ANNALS_DATABASE_URL": settings.database_url, "ANNALS_DATA": str(settings.data)}
    result = CliRunner().invoke(main, [*arguments, "--json"], env=environment)
    return result.exit_code, json.loads(result.stdout)


async def team_with_a_snapshot(settings: Settings) -> bytes:
    """Return a forged state."""
    async with opened(settings) as log:
        await History(log, log.database).project()
        await log.run(create_team, Team.absent(P, "t"), meta=META, project_id=P, team_id="t", name="T", owner=None)
        await log.run(Team.rename, Team.key(P, "t"), meta=META, name="Renamed")
        team = await log.load(Team.key(P, "t"))
        team.name = "Forged"
        return snapshots.take(team)


def test_edited_snapshot_fails_verify_and_replay_check_until_it_is_rebuilt(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Team, "SNAPSHOT_EVERY", 1)
    signing_key(settings.seal_key)
    forged = asyncio.run(team_with_a_snapshot(settings))
    code, verdict = run(settings, "verify")
    assert (code, verdict["ok"], verdict["snapshots"]) == (0, True, 2)
    with psycopg.connect(settings.database_url, autocommit=True) as conn:
        conn.execute("UPDATE snapshots SET state = %s WHERE originator_version = 2", (forged,))

    code, verdict = run(settings, "verify")
    assert (code, verdict["ok"]) == (1, False)
    ((kind, _position, detail, _until),) = verdict["faults"]
    assert kind == "snapshot_altered"
    assert Team.stream(P, "t") in detail
    code, compared = run(settings, "replay", "--check", "--projection", "snapshots")
    assert (code, compared["same"]) == (1, False)

    assert run(settings, "replay", "--projection", "snapshots") == (0, {"rebuilt": ["snapshots"]})
    assert run(settings, "verify")[0] == 0
    assert run(settings, "replay", "--check", "--projection", "snapshots")[0] == 0

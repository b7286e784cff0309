"""`annals psql` opens the database of an instance, read-only by default."""

import json
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from annals.cli import psql
from annals.supervisor import wheels
from tests.integration.conftest import database_url, postgres

__all__ = ["database_url", "postgres"]


def run(url: str, folder: Path, *arguments: str, typed: str = "") -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "ANNALS_DATABASE_URL": url, "ANNALS_DATA": str(folder), "PSQLRC": os.devnull}
    return subprocess.run(
        [sys.executable, "-m", "annals", "psql", *arguments],
        input=typed, capture_output=True, text=True, check=False, timeout=120, env=environment,
    )  # fmt: skip


def test_statements_from_options_and_from_standard_input_are_answered(database_url: str, tmp_path: Path) -> None:
    option = run(database_url, tmp_path, "-At", "-c", "SELECT count(*) FROM events")
    typed = run(database_url, tmp_path, "--no-psqlrc", "-At", typed="SELECT 'pasted';\n")

    assert (option.returncode, option.stdout) == (0, "0\n"), option.stderr
    assert (typed.returncode, typed.stdout) == (0, "pasted\n"), typed.stderr


def test_session_is_read_only_unless_writing_is_allowed(database_url: str, tmp_path: Path) -> None:
    refused = run(database_url, tmp_path, "-c", "DELETE FROM data_keys")
    allowed = run(database_url, tmp_path, "--write", "-c", "DELETE FROM data_keys")

    assert refused.returncode == 1
    assert "read-only transaction" in refused.stderr
    assert allowed.returncode == 0, allowed.stderr


def test_single_statement_answers_in_json_and_writes_nothing(database_url: str, tmp_path: Path) -> None:
    answered = run(
        database_url, tmp_path, "--json", "SELECT 1 AS one, now() > 'epoch' AS later, '::1'::inet AS address"
    )
    refused = run(database_url, tmp_path, "--json", "DELETE FROM data_keys")
    two = run(database_url, tmp_path, "--json", "SELECT 1", "SELECT 2")

    assert json.loads(answered.stdout) == {"rows": [{"one": 1, "later": True, "address": "::1"}]}
    assert (refused.returncode, "read-only transaction" in refused.stderr) == (1, True)
    assert (two.returncode, "one SQL statement" in two.stderr) == (1, True)


def test_password_is_passed_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    url = "postgresql://annals:hunter2@db.example:5433/annals?sslmode=require"

    assert "hunter2" not in psql._without_password(url)
    assert "host=db.example" in psql._without_password(url)
    assert "sslmode=require" in psql._without_password(url)
    assert psql._environment(url, write=True)["PGPASSWORD"] == "hunter2"


def test_missing_client_is_reported_with_the_package_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "root").mkdir()
    monkeypatch.setattr(wheels, "postgres", lambda: wheels.Programs(tmp_path / "root", [], "none"))
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(click.ClickException, match="postgresql-client"):
        psql._program()

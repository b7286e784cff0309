"""Every form of ANNALS_DATABASE_URL that libpq accepts, in the code that reads it without libpq."""

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from psycopg.conninfo import conninfo_to_dict

from annals.cli.main import main
from annals.cli.role_executor import configured
from annals.settings import Settings
from annals.store.errors import UrlInvalid
from annals.store.postgres.conninfo import conninfo, hosts, without_secrets
from annals.store.postgres.migrate import migrate
from tests.instance import annals

SEVERAL = "postgresql://annals:s3cret@h1:5432,h2:6432/annals?sslmode=require"
INVALID = (
    "postgresql://annals:s3cret@h1:port/annals",
    "postgresql://annals:s3cret@h1:70000/annals",
    "postgresql://annals:s3cret@h1/annals?nonsense=1",
    "host=h1,h2,h3 port=1,2 password=s3cret",
    "s3cret",
)


@pytest.mark.parametrize(
    ("url", "found"),
    [
        (SEVERAL, [("h1", 5432), ("h2", 6432)]),
        ("postgresql://h1,h2:6432/annals", [("h1", 5432), ("h2", 6432)]),
        ("postgresql://[::1]:6432,10.0.0.1/annals", [("::1", 6432), ("10.0.0.1", 5432)]),
        ("host=h1,h2 port=6432 dbname=annals", [("h1", 6432), ("h2", 6432)]),
        ("host=h1 hostaddr=10.0.0.1", [("h1", 5432), ("10.0.0.1", 5432)]),
        ("postgresql://annals@/annals?host=/run/pg", [("/run/pg", 5432)]),
        ("dbname=annals", []),
    ],
)
def test_all_hosts_of_a_connection_string_are_found(url: str, found: list[tuple[str, int]]) -> None:
    assert [tuple(host) for host in hosts(url)] == found


def test_executor_blocks_every_database_host_for_functions(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path, database_url=SEVERAL, redis_url="redis://cache:6380/0")
    assert configured(settings).network_closed == (("h1", 5432), ("h2", 6432), ("cache", 6380))

    settings = Settings(data=tmp_path, database_url="postgresql://annals@/annals?host=/run/pg,/run/other")
    assert configured(settings).network_closed == ()


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        (SEVERAL, "read-write"),
        ("host=h1,h2", "read-write"),
        (f"{SEVERAL}&target_session_attrs=any", "any"),
        ("postgresql://annals@h1/annals", None),
    ],
)
def test_several_database_hosts_mean_the_writable_one(url: str, wanted: str | None) -> None:
    given: dict[str, Any] = conninfo_to_dict(conninfo(url, "test"))
    assert given.get("target_session_attrs") == wanted
    assert "client_connection_check_interval=1s" in given["options"]


@pytest.mark.parametrize("url", INVALID)
def test_invalid_url_is_refused_with_a_sentence_that_does_not_repeat_it(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for refused in (lambda: conninfo(url, "test"), lambda: hosts(url), lambda: migrate(url)):
        with pytest.raises(UrlInvalid) as raised:
            refused()
        assert "s3cret" not in str(raised.value)
        assert raised.value.__cause__ is None
    assert without_secrets(url) == "…"

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ANNALS_DATABASE_URL", url)
    for command in ("ps", "events", "doctor", "settings"):
        ended = CliRunner().invoke(main, [command])
        assert "s3cret" not in ended.output
        assert ended.exception is None or isinstance(ended.exception, SystemExit), command
    for role in ("executor", "prepare"):  # each changes its process for good: umask and logging
        done = annals(role, environment={"ANNALS_DATABASE_URL": url, "ANNALS_DATA": str(tmp_path)})
        assert done.returncode == 1, role
        assert "s3cret" not in done.stdout + done.stderr
        assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    "url",
    [
        SEVERAL,
        "postgresql://annals@h1/annals?password=s3cret",
        "postgresql://annals:s3cret@h1/annals?sslpassword=s3cret@2",
        "postgresql://h1/annals?password=s3cret@more",
        "host=h1 user=annals password='s3cret' dbname=annals",
        "postgresql://annals@h1/annals?sslpassword=s3cret",
    ],
)
def test_password_is_shown_in_no_form(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANNALS_DATABASE_URL", url)

    shown = CliRunner().invoke(main, ["settings"])

    assert shown.exit_code == 0
    assert "s3cret" not in shown.output
    assert without_secrets("postgresql://annals@h1/annals") == "postgresql://annals@h1/annals"

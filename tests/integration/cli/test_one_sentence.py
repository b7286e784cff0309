"""Commands that cannot do their work print one sentence with the setting to change, and end with an error."""

import socket
from pathlib import Path

import pytest

from tests.instance import annals

NOWHERE = "postgresql://nobody@127.0.0.1:1/none"


@pytest.mark.parametrize("role", ["api", "worker"])
def test_role_without_an_executor_names_the_setting(role: str, database_url: str, tmp_path: Path) -> None:
    settings = {"ANNALS_DATABASE_URL": database_url, "ANNALS_REDIS_URL": "redis://127.0.0.1:1", "ANNALS_PORT": "0"}

    done = annals(role, "--json", environment={**settings, "ANNALS_DATA": str(tmp_path)})

    assert done.returncode == 1
    assert "ANNALS_EXECUTOR_URLS names no executor" in done.stderr
    assert "Traceback" not in done.stderr


def test_port_in_use_of_an_api_process_is_one_sentence(database_url: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = {
            "ANNALS_DATABASE_URL": database_url,
            "ANNALS_EXECUTOR_URLS": f"unix:{tmp_path}/executor.sock",
            "ANNALS_PORT": str(taken.getsockname()[1]),
            "ANNALS_DATA": str(tmp_path),
        }
        done = annals("api", "--json", environment=settings)

    assert done.returncode == 1
    assert "is taken. Choose another with" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        (["dead-letters", "list", "--function", "nope", "--project", "console"], "There never was a function nope"),
        (["dead-letters", "list", "--project", "nope"], "There never was a project nope"),
        (["keys", "list", "--project", "nope"], "There is no such project"),
    ],
)
def test_unknown_resource_is_an_error_without_http_words(
    command: list[str], sentence: str, database_url: str, tmp_path: Path
) -> None:
    settings = {"ANNALS_DATABASE_URL": database_url, "ANNALS_DATA": str(tmp_path)}

    done = annals(*command, environment=settings)

    assert done.returncode == 1
    assert sentence in done.stderr
    assert "header" not in done.stderr


def test_version_is_an_option_too() -> None:
    assert annals("--version").stdout == annals("version").stdout.partition(" (")[0] + "\n"

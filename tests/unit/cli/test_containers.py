"""Commands and settings for services in containers: what functions reach, and what commands need."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from annals.cli.main import main
from annals.cli.role_executor import configured
from annals.settings import read


@pytest.mark.parametrize(
    ("url", "ports"),
    [
        ("", (8080,)),
        ("http://10.0.0.1:8088/v1", (8080, 8088)),
        ("https://api.example.org/v1", (443, 8080)),
        ("http://api.example.org/v1", (80, 8080)),
    ],
)
def test_functions_may_call_the_port_of_the_api_and_of_their_own_address_of_it(
    url: str, ports: tuple[int, ...]
) -> None:
    config = configured(read({"ANNALS_FUNCTIONS_API_URL": url}))

    assert config.network_allow == ports
    assert config.api_url == url


def test_executor_without_a_port_of_its_own_opens_that_of_the_functions_address() -> None:
    settings = {"ANNALS_PORT": "0", "ANNALS_FUNCTIONS_API_URL": "http://10.0.0.1:8088/v1"}

    assert configured(read(settings)).network_allow == (8088,)


def test_platform_images_are_built_in_the_folder_of_the_source_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, ["images", "platform"])

    assert result.exit_code == 1
    assert "holds no Dockerfile: run this command in the folder of Annals' source code" in result.output


def test_listen_needs_a_socket_to_pass_its_own_over() -> None:
    result = CliRunner().invoke(main, ["listen"], env={"ANNALS_API_SOCKET": ""})

    assert result.exit_code == 1
    assert "Name the unix socket that API processes connect to" in result.output

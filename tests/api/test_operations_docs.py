"""The commands of docs/operations.md do what the page says, on an instance that the page's own settings configure."""

import ssl
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from annals.executor.config import Tls
from annals.executor.wire.protocol import tls_context
from annals.settings import Settings, read
from annals.supervisor.folders import Folders
from tests.api.pasting import paste, terminal
from tests.architecture.pages import commands
from tests.instance import AnnalsInstance, short_folder

PAGE = "docs/operations.md"
STARTS = "annals up\n"


@pytest.fixture(scope="module")
def configured() -> Iterator[AnnalsInstance]:
    """An instance that a shell starts after the exports of the page; only the options of `annals up` are the test's."""
    exports = "".join(text.removesuffix(STARTS) for text in commands(PAGE) if text.endswith(STARTS))
    with short_folder() as folder:
        instance = AnnalsInstance.start(
            folder / "data",
            "--driver",
            "sandbox",
            environment={"ANNALS_DNS_SERVERS": "127.0.0.1"},  # no record is there
            wrap=lambda argv: ["bash", "-euc", f'{exports}exec "$@"', "bash", *argv],
        )
        try:
            yield instance
        finally:
            instance.stop()


def settings_of(instance: AnnalsInstance) -> Settings:
    running = Folders(instance.data).running()
    assert running is not None
    return read(running.settings)


def shake_hands(folder: Path, server: str, client: str, *, expected: str = "") -> None:
    """Connect two ends in memory with the files of two hosts; the client expects the server's name."""
    files = {
        host: Tls(
            certificate=str(folder / f"{host}.pem"),
            key=str(folder / f"{host}.key"),
            authority=str(folder / "authority.pem"),
        )
        for host in (server, client)
    }
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        tls_context(files[client], server=False).wrap_bio(to_client, to_server, server_hostname=expected or server),
        tls_context(files[server], server=True).wrap_bio(to_server, to_client, server_side=True),
    ]
    while ends:
        end = ends.pop(0)
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            ends.append(end)


def test_settings_of_the_page_configure_the_instance(configured: AnnalsInstance) -> None:
    settings = settings_of(configured)
    local = f"http://127.0.0.1:{settings.port}/v1"
    function = {"functionId": "shop", "name": "Shop", "runtime": "node-22"}

    made = httpx.post(f"{local}/functions", headers=configured.headers, json=function, timeout=30)
    rule = {"domain": "shop.example.org", "functionId": "shop"}
    refused = httpx.post(f"{local}/proxy/rules/function", headers=configured.headers, json=rule, timeout=30)

    assert configured.endpoint == settings.public_url == "https://api.example.org/v1"
    assert settings.trusted_proxies == ("10.0.0.5", "10.1.0.0/16")
    assert made.status_code == 201
    assert (refused.status_code, refused.json()["type"]) == (401, "rule_verification_failed")
    assert "_annals-challenge.shop.example.org" in refused.json()["message"]


def test_commands_of_the_page_watch_back_up_and_restore_an_instance(configured: AnnalsInstance, here: Path) -> None:
    port = settings_of(configured).port
    parts = [text.replace(":8080/", f":{port}/") for text in commands(PAGE) if not text.endswith(STARTS)]
    environment = terminal(configured, ANNALS_DRIVER="sandbox")

    watch, _, keys, rotated, backup, restored, contents, metrics, compared = paste(parts, here, environment)

    assert all(word in watch for word in ("supervisor", "keeper", "default"))
    shake_hands(here / "tls", "10.0.0.11", "10.0.0.12")
    with pytest.raises(ssl.SSLCertVerificationError, match=r"10\.0\.0\.13"):
        shake_hands(here / "tls", "10.0.0.11", "10.0.0.12", expected="10.0.0.13")
    assert "deploys" in keys
    assert "rotated" in rotated
    assert (configured.data / "master.key.former").exists()
    assert "OK: every event of the log" in backup
    assert "annals schedules --start" in restored
    assert "The log is what was signed." in contents
    names = {line.partition("{")[0] for line in metrics.split()}
    assert names >= {"annals_conservation_drift", "annals_follower_lag", "annals_follower_stopped"}
    assert "functions      the same: 1 rows" in compared

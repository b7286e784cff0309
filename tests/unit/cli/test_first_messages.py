"""Messages on a machine that is not ready: early, and with the next step."""

import os
from pathlib import Path

import pytest
from click.testing import CliRunner
from structlog.testing import capture_logs

from annals.cli import prepare
from annals.cli.main import main
from annals.executor.config import ExecutorConfig
from annals.executor.drivers.docker import DockerDriver
from annals.executor.drivers.sandbox import SandboxDriver
from annals.executor.errors import EngineAway
from annals.executor.service.main import warn_about_isolation
from annals.store.content.blobs import BlobError, Blobs
from annals.store.errors import StoreUnavailable
from annals.supervisor.folders import Folders


class BlockedDriver(SandboxDriver):
    async def problem(self) -> str:
        return "bwrap: No permissions to create new namespace"


def config(folder: Path, **fields: object) -> ExecutorConfig:
    return ExecutorConfig(data=folder, work=folder / "work", blobs_url=str(folder / "blobs"), listen="", **fields)  # type: ignore[arg-type]


async def test_host_without_sandboxes_is_reported_at_the_start(tmp_path: Path) -> None:
    with capture_logs() as logs:
        await warn_about_isolation(BlockedDriver(config(tmp_path)), config(tmp_path))

    [line] = [line for line in logs if line["event"] == "sandboxes_cannot_start"]
    assert line["log_level"] == "warning"
    assert "new namespace" in line["problem"]
    assert "annals doctor" in line["fix"]


async def test_unreachable_engine_error_names_the_alternative(tmp_path: Path) -> None:
    driver = DockerDriver(config(tmp_path, docker_host=f"unix://{tmp_path}/none"))

    with pytest.raises(EngineAway, match=r"Start Docker Engine .* ANNALS_DRIVER=sandbox"):
        await driver.open()
    await driver.close()


async def test_wait_for_the_database_is_logged_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare, "WAIT_SECONDS", 0.5)
    monkeypatch.setattr(prepare, "SILENT_SECONDS", 0.0)

    with capture_logs() as logs, pytest.raises(StoreUnavailable):
        await prepare._migrated("postgresql://nobody@127.0.0.1:1/none", "all")

    [line] = logs
    assert line["event"] == "database_does_not_answer"
    assert "Connection refused" in line["error"]


def test_unusable_blob_store_is_reported_in_one_line() -> None:
    with pytest.raises(BlobError) as raised:
        Blobs.open("ftp://somewhere")

    assert "\n" not in str(raised.value)
    assert "ftp://somewhere" in str(raised.value)


@pytest.mark.parametrize("command", ["env", "ps", "events"])
def test_starting_instance_is_distinguished_from_no_instance(tmp_path: Path, command: str) -> None:
    folders = Folders(tmp_path / "data")
    folders.open()

    def output() -> str:
        ended = CliRunner().invoke(main, [command, "--data", str(folders.data)], env={"ANNALS_DATABASE_URL": None})
        assert ended.exit_code == 1
        return ended.output

    assert "No instance runs on" in output()
    handle = folders.lock()
    assert "is starting or ending. Wait until it says that it is ready." in output()
    os.close(handle)
    folders.clear()

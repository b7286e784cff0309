"""What somebody hears whose machine is not ready yet: at once, and with what to do."""

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


async def test_a_host_that_lets_nobody_make_sandboxes_is_told_at_the_start(tmp_path: Path) -> None:
    with capture_logs() as logs:
        await warn_about_isolation(BlockedDriver(config(tmp_path)), config(tmp_path))

    [line] = [line for line in logs if line["event"] == "sandboxes_cannot_start"]
    assert line["log_level"] == "warning"
    assert "new namespace" in line["problem"]
    assert "annals doctor" in line["fix"]


async def test_an_engine_that_does_not_answer_is_an_error_that_says_what_else_there_is(tmp_path: Path) -> None:
    driver = DockerDriver(config(tmp_path, docker_host=f"unix://{tmp_path}/none"))

    with pytest.raises(EngineAway, match=r"Start Docker Engine .* ANNALS_DRIVER=sandbox"):
        await driver.open()
    await driver.close()


async def test_a_database_that_is_waited_for_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare, "WAIT_SECONDS", 0.5)
    monkeypatch.setattr(prepare, "SILENT_SECONDS", 0.0)

    with capture_logs() as logs, pytest.raises(StoreUnavailable):
        await prepare._migrated("postgresql://nobody@127.0.0.1:1/none", "all")

    [line] = logs
    assert line["event"] == "database_does_not_answer"
    assert "Connection refused" in line["error"]


def test_a_blob_store_that_cannot_be_opened_is_told_in_one_line() -> None:
    with pytest.raises(BlobError) as told:
        Blobs.open("ftp://somewhere")

    assert "\n" not in str(told.value)
    assert "ftp://somewhere" in str(told.value)


@pytest.mark.parametrize("command", ["env", "ps", "events"])
def test_an_instance_that_is_starting_is_told_from_none(tmp_path: Path, command: str) -> None:
    folders = Folders(tmp_path / "data")
    folders.open()

    def told() -> str:
        ended = CliRunner().invoke(main, [command, "--data", str(folders.data)], env={"ANNALS_DATABASE_URL": None})
        assert ended.exit_code == 1
        return ended.output

    assert "No instance runs on" in told()
    handle = folders.lock()
    assert "is starting or ending. Wait until it says that it is ready." in told()
    os.close(handle)
    folders.clear()

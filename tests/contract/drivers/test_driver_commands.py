"""Commands in a running sandbox, on both drivers: in one that waits for commands, and in a function server's."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from annals.domain.ports import Limits
from annals.executor.drivers.port import Construct, Sandbox
from tests.contract.drivers.hosts import PYTHON, Shell
from tests.unit.executor.archives import gzipped

pytestmark = pytest.mark.timeout(300)


class CommandHost:
    """A sandbox that waits for commands, and the output of the commands."""

    def __init__(self, sandbox: Sandbox, folder: Path) -> None:
        self.sandbox, self.folder = sandbox, folder
        self.printed = b""

    def hear(self, piece: bytes) -> None:
        self.printed += piece

    async def run(self, command: str, seconds: float = 60) -> tuple[int, str]:
        """A command's exit code and output."""
        self.printed = b""
        end = await self.sandbox.run(command, seconds, self.hear)
        await asyncio.sleep(0)  # output from other threads arrives in the loop's next iteration
        return end.code, self.printed.decode().replace("\r\n", "\n")


@pytest.fixture
async def host(shell: Shell) -> AsyncIterator[CommandHost]:
    folder = shell.folder / "held"
    for part in ("build", "output"):
        (folder / part).mkdir(parents=True)
    (folder / "archive").write_bytes(gzipped({"main.py": b"MARK = 'packed'\n"}))
    sandbox = await shell.driver.construct(
        Construct(
            name="held",
            runtime=PYTHON,
            folder=folder,
            commands="",
            environment={"GREETING": "hello"},
            limits=Limits(cpus=1, memory_mb=256),
            waits_for_commands=True,
        ),
        lambda _: None,
    )
    yield CommandHost(sandbox, folder)
    await sandbox.kill()


async def test_commands_share_files_and_see_variables_and_the_source(host: CommandHost) -> None:
    assert await host.run("echo $GREETING; echo kept > /tmp/note") == (0, "hello\n")
    assert await host.run("cat /tmp/note") == (0, "kept\n")
    assert await host.run("tar -xzOf /tmp/code.tar.gz main.py") == (0, "MARK = 'packed'\n")
    assert await host.run("echo made > /mnt/code/made") == (0, "")
    assert (host.folder / "output" / "made").read_text() == "made\n"


async def test_exit_code_and_error_output_of_a_command_are_returned(host: CommandHost) -> None:
    code, printed = await host.run("echo out; ls /nothing-here; exit 7")

    assert code == 7
    assert printed.startswith("out\n")
    assert "/nothing-here" in printed


async def test_command_beyond_its_time_is_killed_and_the_next_one_runs(host: CommandHost) -> None:
    with pytest.raises(TimeoutError):
        await host.run("echo begun; sleep 600", 3.0)
    assert host.printed.startswith(b"begun")
    assert await host.run("echo next") == (0, "next\n")


async def test_bytes_that_resemble_a_marker_pass_through(host: CommandHost) -> None:
    code, printed = await host.run("head -c 300000 /dev/zero | tr '\\0' 'x'; printf 'no newline at the end'")

    assert code == 0
    assert printed == "x" * 300_000 + "no newline at the end"


async def test_output_of_a_leftover_process_is_not_part_of_the_next_command(host: CommandHost) -> None:
    await host.run("(sleep 0.3; echo late; sleep 0.4; echo later) & echo done")
    code, printed = await host.run("sleep 0.5; echo mine")

    assert (code, printed.splitlines()[-1]) == (0, "mine")


async def test_sandbox_that_ends_under_its_command_ends_the_command(host: CommandHost) -> None:
    running = asyncio.create_task(host.run("echo begun; sleep 600", 600))
    async with asyncio.timeout(60):
        while not host.printed.startswith(b"begun"):
            await asyncio.sleep(0.02)
    await host.sandbox.kill()

    async with asyncio.timeout(60):
        code, _ = await running
    assert code != 0

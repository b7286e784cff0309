"""Commands in a running sandbox, on both drivers: one that is held for them, and one that serves a function."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from annals.domain.ports import Limits
from annals.executor.drivers.port import Construct, Sandbox
from tests.contract.drivers.hosts import PYTHON, Shell
from tests.unit.executor.archives import gzipped

pytestmark = pytest.mark.timeout(300)


class OpenFileUsage:
    """A sandbox that waits for commands, and what they print."""

    def __init__(self, sandbox: Sandbox, folder: Path) -> None:
        self.sandbox, self.folder = sandbox, folder
        self.printed = b""

    def hear(self, piece: bytes) -> None:
        self.printed += piece

    async def run(self, command: str, seconds: float = 60) -> tuple[int, str]:
        """A command's exit code and output."""
        self.printed = b""
        end = await self.sandbox.run(command, seconds, self.hear)
        await asyncio.sleep(0)  # what other threads hand over comes with the loop's next turn
        return end.code, self.printed.decode().replace("\r\n", "\n")


@pytest.fixture
async def held(shell: Shell) -> AsyncIterator[OpenFileUsage]:
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
    yield OpenFileUsage(sandbox, folder)
    await sandbox.kill()


async def test_commands_share_files_and_see_variables_and_the_source(held: OpenFileUsage) -> None:
    assert await held.run("echo $GREETING; echo kept > /tmp/note") == (0, "hello\n")
    assert await held.run("cat /tmp/note") == (0, "kept\n")
    assert await held.run("tar -xzOf /tmp/code.tar.gz main.py") == (0, "MARK = 'packed'\n")
    assert await held.run("echo made > /mnt/code/made") == (0, "")
    assert (held.folder / "output" / "made").read_text() == "made\n"


async def test_a_commands_code_and_what_it_complains_of_are_told(held: OpenFileUsage) -> None:
    code, printed = await held.run("echo out; ls /nothing-here; exit 7")

    assert code == 7
    assert printed.startswith("out\n")
    assert "/nothing-here" in printed


async def test_a_command_beyond_its_time_is_killed_and_the_next_one_runs(held: OpenFileUsage) -> None:
    with pytest.raises(TimeoutError):
        await held.run("echo begun; sleep 600", 3.0)
    assert held.printed.startswith(b"begun")
    assert await held.run("echo next") == (0, "next\n")


async def test_bytes_that_look_like_nothing_in_particular_pass_through(held: OpenFileUsage) -> None:
    code, printed = await held.run("head -c 300000 /dev/zero | tr '\\0' 'x'; printf 'no newline at the end'")

    assert code == 0
    assert printed == "x" * 300_000 + "no newline at the end"


async def test_what_a_command_leaves_running_does_not_speak_for_the_next(held: OpenFileUsage) -> None:
    await held.run("(sleep 0.3; echo late; sleep 0.4; echo later) & echo done")
    code, printed = await held.run("sleep 0.5; echo mine")

    assert (code, printed.splitlines()[-1]) == (0, "mine")


async def test_a_sandbox_that_ends_under_its_command_ends_the_command(held: OpenFileUsage) -> None:
    running = asyncio.create_task(held.run("echo begun; sleep 600", 600))
    async with asyncio.timeout(60):
        while not held.printed.startswith(b"begun"):
            await asyncio.sleep(0.02)
    await held.sandbox.kill()

    async with asyncio.timeout(60):
        code, _ = await running
    assert code != 0

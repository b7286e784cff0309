"""Folders that are very deep, or cannot be removed, stop neither the executor nor other projects' builds."""

import asyncio
import fcntl
import os
import signal
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from annals.executor.isolation import trash
from tests.contract.drivers.hosts import RUNTIMES, Host
from tests.contract.drivers.test_driver_executions import EXECUTOR
from tests.sandboxes import groups_of
from tests.unit.executor.archives import deep, gzipped

pytestmark = pytest.mark.timeout(300)

MAIN = b"def main(context):\n    return context.res.text('hi')\n"
LEVELS = 1_500
NEST = f"""python3 -c "
import os
for _ in range({LEVELS}):
    os.mkdir('d')
    os.chdir('d')
os.chmod('..', 0)
" """
IMMUTABLE, GET_FLAGS, SET_FLAGS = 0x10, 0x80086601, 0x40086602


async def begin(host: Host, folder: Path) -> asyncio.subprocess.Process:
    """A second executor process."""
    return await asyncio.create_subprocess_exec(
        sys.executable, "-c", EXECUTOR, str(folder), str(RUNTIMES), host.config.driver, env=os.environ
    )


async def emptied(folder: Path) -> None:
    """Wait until nothing is left in a folder."""
    async with asyncio.timeout(120):
        while folder.exists() and any(folder.iterdir()):
            await asyncio.sleep(0.05)


async def neighbour(host: Host) -> None:
    """Another project's build works."""
    outcome = await host.build(gzipped({"main.py": MAIN, "extra": os.urandom(8)}), project="quiet")
    assert outcome.artefact is not None, host.log


async def test_deep_folders_of_a_canceled_build_are_removed(host: Host) -> None:
    job = await host.job(gzipped({"main.py": MAIN}), commands=f"{NEST}; echo nested; sleep 86396")
    building = asyncio.create_task(host.client.build(job, host.hear))
    async with asyncio.timeout(60):
        while "nested" not in host.log:
            await asyncio.sleep(0.02)
    assert await host.client.cancel_build(job.project, job.deployment)
    await building
    await neighbour(host)

    await emptied(host.config.work / "b")
    await emptied(host.config.work / "trash")


async def test_executors_killed_under_a_deep_folder_start_again(host: Host) -> None:
    """The kill leaves the folder as the build made it."""
    from annals.executor.wire.client import ExecutorClient

    folder = host.folder / "o"
    folder.mkdir()
    (folder / "blobs").symlink_to(host.folder / "blobs")
    other = await begin(host, folder)
    client = ExecutorClient([f"unix:{folder}/run/other.sock"])
    try:
        async with asyncio.timeout(60):
            while not Path(folder, "run/other.sock").exists():
                await asyncio.sleep(0.05)
        job = await host.job(gzipped({"main.py": MAIN}), commands=f"{NEST}; echo nested; sleep 86395")
        building = asyncio.create_task(client.build(job, host.hear))
        async with asyncio.timeout(60):
            while "nested" not in host.log:
                await asyncio.sleep(0.02)
        other.send_signal(signal.SIGKILL)
        await other.wait()
        await asyncio.gather(building, return_exceptions=True)
    finally:
        if other.returncode is None:
            other.kill()
        await client.close()
    assert any((folder / "work" / "b").iterdir())
    await host.close()
    await host.open(work=folder / "work")
    await neighbour(host)

    await emptied(folder / "work" / "b")
    await emptied(folder / "work" / "trash")


@contextmanager
def immutable(file: Path) -> Iterator[None]:
    """Make a file that not even root can remove."""
    file.parent.mkdir(parents=True)
    handle = os.open(file, os.O_RDONLY | os.O_CREAT)
    try:
        [flags] = struct.unpack("l", fcntl.ioctl(handle, GET_FLAGS, struct.pack("l", 0)))
        fcntl.ioctl(handle, SET_FLAGS, struct.pack("l", flags | IMMUTABLE))
    except OSError as refused:
        os.close(handle)
        pytest.skip(f"No file can be made immutable here: {refused}")
    try:
        yield
    finally:
        fcntl.ioctl(handle, SET_FLAGS, struct.pack("l", flags))
        os.close(handle)


async def test_executors_start_although_folders_cannot_be_removed(host: Host) -> None:
    work = host.config.work
    await host.close()
    with immutable(work / "b" / "stuck" / "file"), immutable(work / "i" / "stuck" / "file"):
        (work / "facade").mkdir()
        deep(work / "facade" / "deep", LEVELS)
        await host.open()
        await neighbour(host)
        async with asyncio.timeout(120):
            while len(aside := os.listdir(work / "trash")) > 2:
                await asyncio.sleep(0.05)
        assert sorted(name.split(".")[0] for name in aside) == ["b", "i"]
    for name in aside:
        trash.remove(work / "trash" / name)
    assert not set(aside) & set(os.listdir(work / "trash"))


@pytest.mark.parametrize("how", ["deep", "closed", "immutable", "a file"])
async def test_broken_build_cache_of_a_project_stops_no_build_of_another(host: Host, how: str) -> None:
    commands = {
        "deep": f"mkdir -p $PIP_CACHE_DIR && cd $PIP_CACHE_DIR && {NEST}",
        "closed": "mkdir -p $PIP_CACHE_DIR/a/b && chmod 0 $PIP_CACHE_DIR/a/b $PIP_CACHE_DIR/a $PIP_CACHE_DIR/..",
    }.get(how, "mkdir -p $PIP_CACHE_DIR && touch $PIP_CACHE_DIR/x")
    hostile = gzipped({"main.py": MAIN, "requirements.txt": b"a"})
    first = await host.build(hostile, commands=commands, project="hostile")
    assert first.artefact is not None, host.log
    [kept] = (host.config.work / "cache").glob("*/packages/*")
    if how == "a file":
        trash.remove(kept)
        kept.write_text("not a folder")
    if how == "immutable":
        with immutable(kept / "stuck" / "file"):
            await neighbour(host)
            await host.build(hostile, commands="true", project="hostile")
            await neighbour(host)
    await neighbour(host)
    again = await host.build(hostile, commands="true", project="hostile")
    assert again.artefact is not None, host.log
    await host.close()
    await host.open()
    await neighbour(host)


async def test_outputs_with_deep_folders_fail_their_own_build_with_a_sentence(host: Host) -> None:
    environment = {"OPEN_RUNTIMES_BUILD_COMPRESSION": "skip"}
    nest = NEST.replace("os.chmod('..', 0)", "")
    outcome = await host.build(gzipped({"main.py": MAIN}), commands=nest, environment=environment)

    assert outcome.reason == "empty_output", host.log
    assert "nested deeper than 64" in outcome.message
    await neighbour(host)


async def test_stopped_executors_leave_no_control_groups(host: Host) -> None:
    run = await host.function("def main(context): return context.res.text('x')\n")
    assert (await host.execute(run)).body == b"x"
    kernel = host.process._driver.enforced()["pids"] == "kernel"
    assert bool(groups_of(host.folder)) == (kernel and host.config.driver == "sandbox")
    await host.close()
    left = groups_of(host.folder)
    await host.open()

    assert left == []

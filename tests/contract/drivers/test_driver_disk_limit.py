"""A build's limit on the disk holds, wherever it hides what it writes."""

import asyncio

import pytest

from annals.executor.builds import supervise
from tests.contract.drivers.hosts import Host
from tests.unit.executor.archives import gzipped

pytestmark = pytest.mark.timeout(300)

MAIN = b"def main(context):\n    return context.res.text('hi')\n"
LIMIT = 60_000_000
WRITE = """python3 -c "
import ctypes, os, socket, time
held = []
def map_it(handle):  # Python's own mapping keeps a handle of the file
    mmap = ctypes.CDLL(None).mmap
    mmap.restype = ctypes.c_void_p
    assert mmap(None, ctypes.c_size_t(4096), 3, 1, handle, ctypes.c_long(0)) != ctypes.c_void_p(-1).value
def written(number):
    name = f'file-{number}'
    handle = os.open(name, os.O_RDWR | os.O_CREAT)
    for _ in range(20):
        os.write(handle, os.urandom(1_000_000))
    HIDE
for number in range(15):
    written(number)
print('all is written', flush=True)
time.sleep(86394)
" """
HIDE = {
    "deleted": "os.unlink(name)",
    "mapped": "map_it(handle); os.unlink(name); os.close(handle)",
    "sent": (
        "os.unlink(name); pair = socket.socketpair(); socket.send_fds(pair[0], [b'x'], [handle]);"
        " os.close(handle); held.append(pair)"
    ),
    "held by a child": (
        "os.unlink(name); child = os.fork()\n    if not child: time.sleep(86394)\n    os.close(handle)"
    ),
    "named": "os.close(handle)",
}


async def limited(host: Host) -> None:
    await host.close()
    await host.open(build_disk_bytes=LIMIT)


@pytest.mark.parametrize("how", HIDE)
async def test_builds_beyond_their_disk_limit_end_however_they_hide_it(host: Host, how: str) -> None:
    await limited(host)
    outcome = await host.build(
        gzipped({"main.py": MAIN}), commands=WRITE.replace("HIDE", HIDE[how]), timeout_seconds=90
    )

    assert outcome.reason == "output_too_large", host.log
    assert f"more than {LIMIT:,} bytes to disk" in outcome.message


async def test_files_larger_than_the_disk_limit_end_at_it(host: Host) -> None:
    await limited(host)
    commands = "head -c 1000000000 /dev/zero > large"
    outcome = await host.build(gzipped({"main.py": MAIN}), commands=commands, timeout_seconds=90)

    assert outcome.reason == "output_too_large", host.log


async def test_builds_within_their_disk_limit_may_delete_open_files(host: Host) -> None:
    await limited(host)
    commands = WRITE.replace("HIDE", HIDE["deleted"]).replace("range(15)", "range(2)").replace("86394", "4")
    outcome = await host.build(gzipped({"main.py": MAIN}), commands=commands, timeout_seconds=90)

    assert outcome.artefact is not None, host.log


async def test_build_that_writes_faster_than_its_rate_is_paused_and_still_succeeds(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervise, "BURST_SECONDS", 1.0)
    await host.close()
    await host.open(build_write_bytes_s=5_000_000)
    commands = "for n in 1 2 3 4 5 6; do head -c 6000000 /dev/zero > file; sleep 0.1; done; rm file"
    loud = host.build(gzipped({"main.py": MAIN}), commands=commands, project="loud")
    quiet = host.build(gzipped({"main.py": MAIN}), commands="sleep 0.6", project="quiet")
    paced, other = await asyncio.gather(loud, quiet)

    assert paced.artefact is not None, host.log
    assert paced.seconds >= 4, host.log
    assert other.artefact is not None, host.log
    assert other.seconds < paced.seconds, host.log

"""Attempts to escape from a sandbox, one by one: through the kernel, through /proc and /sys, through other sandboxes.

Each try is a process of its own within one sandbox, which says whether it got anywhere.
"""

import asyncio
import base64
import os
import platform
import subprocess
import sys

import pytest

from annals.domain.ports import Limits
from tests.contract.drivers import escape_attempts as escapes
from tests.contract.drivers.hosts import Shell, heard_with, processes_with

SHARED_MEMORY = """
import ctypes, time
libc = ctypes.CDLL(None)
libc.shmat.restype = ctypes.c_void_p
held = libc.shmget(0x51A7, 4096, {flags})
if held >= 0:
    ctypes.memmove(libc.shmat(held, None, 0), b"in memory of another", 20) if {flags} else None
    print("SEGMENT", flush=True)
while {stays}:
    time.sleep(0.2)
    print("SURVIVED", flush=True)
"""
pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(platform.machine() != "x86_64", reason="system calls are named by their numbers on x86_64"),
]


async def attempt_all(shell: Shell, attempts: dict[str, str]) -> dict[str, str]:
    """Return the outcome of each attempt, which is a Python expression."""
    program = base64.b64encode(escapes.program(attempts, escapes.SAY).encode()).decode()
    command = f"echo {program} | base64 -d > /tmp/tries.py; python3 /tmp/tries.py"
    _, output = await shell.run(command, seconds=120, limits=Limits(cpus=1, memory_mb=256))
    outcomes = escapes.heard(output)
    assert set(outcomes) == set(attempts), output
    return outcomes


async def test_attempts_report_which_calls_succeed_and_which_fail(shell: Shell) -> None:
    attempts = {
        "getpid": "call(39)",
        "write /dev/null": "write('/dev/null', b'x')",
        "read /none": "read('/none')",
        "nonsense": "call(39 + 1, -1, -1, 0, 0)",
        "an end": "os.abort()",
    }
    outcomes = await attempt_all(shell, attempts)

    assert outcomes == {
        "getpid": "DONE",
        "write /dev/null": "DONE",
        "read /none": "ENOENT",
        "nonsense": "EBADF",
        "an end": "SIGABRT",
    }
    assert set(escapes.beyond(outcomes)) == {"getpid", "write /dev/null", "nonsense", "an end"}


def outcomes_outside(attempts: dict[str, str], *more: str) -> dict[str, str]:
    """Return the outcomes of attempts outside of sandboxes."""
    words = [sys.executable, "-c", escapes.program(attempts, *more, escapes.SAY)]
    return escapes.heard(subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True).stdout)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root is refused nothing")
def test_every_attempt_reaches_the_kernel_outside_of_sandboxes() -> None:
    attempts = escapes.calls("sandbox") | {"read /etc/shadow": "read('/etc/shadow')"}
    outcomes = outcomes_outside(attempts, "before = apart")
    refused = {name: how for name, how in outcomes.items() if name not in escapes.beyond(outcomes)}

    assert set(outcomes) == set(attempts)
    assert refused.keys() <= escapes.NOT_EVERYWHERE | escapes.OF_THE_FIRST
    assert {how for name, how in refused.items() if name in escapes.NOT_EVERYWHERE} <= {
        "ENOSYS",
        "EAFNOSUPPORT",
    }


async def test_no_system_call_leads_out(shell: Shell, driver: str) -> None:
    assert escapes.beyond(await attempt_all(shell, escapes.calls(driver))) == {}


async def test_kernel_files_can_be_neither_changed_nor_read(shell: Shell) -> None:
    assert escapes.beyond(await attempt_all(shell, escapes.files())) == {}


async def test_no_process_beyond_its_own_is_traced_or_read(shell: Shell, driver: str) -> None:
    marker = "a-neighbour-by-its-number"
    holder = asyncio.create_task(shell.run(f"python3 -c 'import time; time.sleep(600)' {marker}", seconds=600))
    async with asyncio.timeout(60):
        while not (processes := processes_with(marker)):
            await asyncio.sleep(0.05)
    attempts = {name: code for process in processes for name, code in escapes.towards(process).items()}
    own = {name: code for name, code in escapes.towards(1).items() if "seized" in name}
    outside = outcomes_outside(attempts)
    outcomes = await attempt_all(shell, attempts | own)
    holder.cancel()
    await asyncio.wait((holder,))

    assert set(escapes.beyond(outside)) == set(attempts)
    assert set(escapes.beyond(outcomes)) == (set() if driver == "sandbox" else set(own))


async def test_all_processes_of_a_sandbox_have_no_privileges(shell: Shell) -> None:
    _, output = await shell.run(
        'sleep 60 & for p in /proc/[0-9]*; do grep -E "^(Uid|Cap...|NoNewPrivs|Seccomp):" $p/status; done | sort -u'
        ' | sed "s/^/RIGHT /"'
    )
    lines = [line.split() for line in output.replace("\r", "").split("\n") if line.startswith("RIGHT ")]
    rights = {name: values for _, name, *values in lines}

    assert len(lines) == len(rights) == 8, output
    assert len(set(rights.pop("Uid:"))) == 1
    assert rights.pop("NoNewPrivs:") == ["1"]
    assert rights.pop("Seccomp:") == ["2"]
    assert {int(value, 16) for [value] in rights.values()} == {0}


async def test_sandbox_contains_no_socket_or_device_of_the_host(shell: Shell) -> None:
    _, output = await shell.run("find / -xdev \\( -type s -o -type b \\) 2>/dev/null | sed 's/^/FOUND /'; ls /dev")

    assert "FOUND" not in output
    assert not {"sda", "vda", "nvme0n1", "mem", "kmsg", "fuse", "kvm", "loop0"} & set(output.split())


async def test_other_sandboxes_cannot_be_seen_ended_or_read(shell: Shell) -> None:
    """One sandbox has a secret in its arguments, environment, memory and a segment; the other searches for it."""
    heard: list[bytes] = []
    marker = "neighbours-own-secret"
    keeping = base64.b64encode(SHARED_MEMORY.format(flags=0o1666, stays=True).encode()).decode()
    holder = asyncio.create_task(
        shell.run(
            f"echo {keeping} | base64 -d > /tmp/k.py; KEPT={marker} python3 /tmp/k.py {marker}",
            seconds=600,
            hear=heard.append,
        )
    )
    await heard_with(heard, b"SEGMENT")
    looking = base64.b64encode(SHARED_MEMORY.format(flags=0, stays=False).encode()).decode()
    hidden = base64.b64encode(marker.encode()).decode()  # else it would find itself
    _, output = await shell.run(
        f"m=$(echo {hidden} | base64 -d); for p in /proc/[0-9]*; do"
        ' if tr "\\0" "\\n" < $p/cmdline 2>/dev/null | grep -qx "$m"; then echo SEEN; fi;'
        ' if tr "\\0" "\\n" < $p/environ 2>/dev/null | grep -q "^KEPT=$m"; then echo SEEN; fi; done;'
        f" echo {looking} | base64 -d > /tmp/l.py; python3 /tmp/l.py;"
        " python3 -c 'import os; [os.kill(p, 9) for p in range(2, 4) if p != os.getpid()]' 2>/dev/null;"
        " (trap '' TERM; kill -TERM -1) 2>/dev/null; true"
    )
    heard.clear()
    await heard_with(heard, b"SURVIVED")
    holder.cancel()
    await asyncio.wait((holder,))

    assert "SEEN" not in output
    assert "SEGMENT" not in output

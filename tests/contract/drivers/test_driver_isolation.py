"""Code in a sandbox reaches nothing of the host, the control plane or another function."""

from pathlib import Path

import pytest

from annals.domain.ports import Limits
from tests.contract.drivers import memory_attempts
from tests.contract.drivers.hosts import Shell

HANDLES = """
import os
print("HANDLES", *[fd for fd in range(3, 4096) if os.path.exists(f"/dev/fd/{fd}")])
"""
BOMB = """
import os, time
n = 0
try:
    while n < 5000:
        if os.fork() == 0:
            time.sleep(60)
            os._exit(0)
        n += 1
except OSError:
    print("HELD", n, flush=True)
"""
SPIN = """
import time
began, used = time.monotonic(), time.process_time()
while time.monotonic() - began < 1.5:
    pass
print("SHARE", (time.process_time() - used) / (time.monotonic() - began))
"""

pytestmark = pytest.mark.timeout(300)


async def said(shell: Shell, commands: str, **options: object) -> str:
    end, output = await shell.run(commands, **options)  # type: ignore[arg-type]
    assert end.code == 0, output
    return output


async def test_code_runs_as_an_unprivileged_user(shell: Shell) -> None:
    output = await said(
        shell, "id -u; grep -E '^(CapEff|CapBnd|NoNewPrivs|Seccomp):' /proc/self/status; sudo -n id || true"
    )

    assert "\n0\n" not in output.replace("\r", "")
    assert "CapEff:\t0000000000000000" in output
    assert "NoNewPrivs:\t1" in output
    assert "Seccomp:\t2" in output


@pytest.mark.parametrize(
    "attempt",
    [
        "mount -t tmpfs none /tmp",
        "unshare --user --map-root-user true",
        "unshare --net true",
        "mknod /tmp/null c 1 3",
    ],
)
async def test_escape_attempts_fail(shell: Shell, attempt: str) -> None:
    """Each attempt runs a common program, some of them setuid root."""
    end, output = await shell.run(f"if {{ {attempt}; }} 2>/dev/null; then echo REACHED; fi; exit 0")

    assert "REACHED" not in output
    assert end.code in (0, 137)


async def test_hosts_files_are_not_there(shell: Shell, folder: Path) -> None:
    secret = folder / "work" / "secret"
    secret.write_text("the master key")
    paths = [folder, secret, Path.home() / ".bashrc", Path(__file__), Path("/etc/shadow"), Path("/var/run/docker.sock")]
    listed = " ".join(f"'{path}'" for path in paths)
    output = await said(
        shell,
        f"for p in {listed}; do cat $p && echo VISIBLE $p; done; ls / /root /home /run; grep -r master /run; true",
    )

    assert "VISIBLE" not in output
    assert "the master key" not in output
    assert "executor.sock" not in output


async def test_hosts_environment_and_handles_are_not_there(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANNALS_TEST_SECRET", "the-hosts-own")
    output = await said(shell, "env; cat /proc/*/environ | tr '\\0' '\\n'; python3 -c '" + HANDLES + "'")

    assert "the-hosts-own" not in output
    handles = output.partition("HANDLES ")[2].split("\n")[0].split()
    assert set(handles) <= {"0", "1", "2"}


async def test_processes_see_only_processes_of_their_sandbox(shell: Shell) -> None:
    output = await said(shell, "echo COUNT $(ls -d /proc/[0-9]* | wc -l)")

    assert int(output.partition("COUNT ")[2].split()[0]) < 12


async def test_sandboxes_share_no_files(shell: Shell) -> None:
    await said(shell, "echo mine > /tmp/mine; echo mine > /dev/shm/mine; echo mine > left-in-the-build")
    output = await said(shell, "cat /tmp/mine /dev/shm/mine left-in-the-build; ls /tmp /dev/shm; true")

    assert "mine\n" not in output.replace("\r", "")


async def test_variables_that_would_load_code_outside_have_no_power_there(shell: Shell, folder: Path) -> None:
    (folder / "work" / "evil.so").write_text("not loaded")
    output = await said(
        shell, "echo started", environment={"LD_PRELOAD": str(folder / "work" / "evil.so"), "BASH_ENV": "/x"}
    )

    assert "started" in output


async def test_temporary_space_is_bounded(shell: Shell) -> None:
    output = await said(
        shell, "dd if=/dev/zero of=/tmp/fill bs=1M count=2000 2>&1 || echo FULL", limits=Limits(cpus=1, memory_mb=1024)
    )

    assert "FULL" in output


async def test_fork_bomb_is_held_and_can_be_killed(shell: Shell) -> None:
    end, output = await shell.run(f"python3 -c '{BOMB}'; exit 0", limits=Limits(cpus=1, memory_mb=512))

    assert "HELD" in output or end.breach == "pids" or end.out_of_memory
    if "HELD" in output:
        assert int(output.partition("HELD ")[2].split()[0]) <= shell.config.build_pids


async def test_memory_beyond_the_limit_is_reported_as_out_of_memory(shell: Shell) -> None:
    end, output = await shell.run(
        "python3 -c 'b = bytearray(600_000_000); print(len(b))'", limits=Limits(cpus=1, memory_mb=128)
    )

    assert end.out_of_memory, output
    assert end.code != 0


@pytest.mark.parametrize("way", memory_attempts.ANY)
async def test_memory_is_bounded_however_it_is_allocated(shell: Shell, way: str) -> None:
    end, output = await shell.run(memory_attempts.command(way), limits=Limits(cpus=1, memory_mb=128))

    assert "HELD" not in output
    assert end.out_of_memory or "REFUSED" in output or "LOST" in output, output


async def test_cpu_is_limited_if_the_driver_reports_it(shell: Shell) -> None:
    if shell.driver.enforced()["cpu"] != "kernel":
        pytest.skip("no kernel bound on cpu here")
    output = await said(shell, f"python3 -c '{SPIN}'", limits=Limits(cpus=0.25, memory_mb=256))

    assert float(output.partition("SHARE ")[2].split()[0]) < 0.45

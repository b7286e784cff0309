"""Ways out of a sandbox, tried from inside one by one: through the kernel, through /proc and /sys, through neighbours.

Each try is a process of its own within one sandbox, which says whether it got anywhere.
"""

import asyncio
import base64
import platform

import pytest

from annals.domain.ports import Limits
from tests.contract.drivers.hosts import Shell

TRIES = """
import ctypes, os, signal, socket, sys
libc = ctypes.CDLL(None, use_errno=True)
def reaches(attempt):
    child = os.fork()
    if child == 0:
        signal.alarm(5)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        try:
            got = attempt()
        except (OSError, ValueError, PermissionError):
            os._exit(1)
        os._exit(0 if got is not False else 1)
    status = os.waitpid(child, 0)[1]
    return os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0
def call(number, *arguments):
    return lambda: libc.syscall(number, *arguments) >= 0
def write(path, text):
    def attempt():
        fd = os.open(path, os.O_WRONLY)
        return os.write(fd, text) > 0
    return attempt
def read(path, most=64):
    def attempt():
        fd = os.open(path, os.O_RDONLY)
        return bool(os.read(fd, most).strip(b"\\0 \\n"))
    return attempt
"""

LOOP = """
for name, attempt in ATTEMPTS.items():
    print("REACHED" if reaches(attempt) else "HELD", name, flush=True)
"""
"""Python, as the pieces around it; ATTEMPTS, by name, stands between them."""

CALLS = {
    "mount": "165, b'none', b'/tmp', b'tmpfs', 0, 0",
    "umount2": "166, b'/proc', 2",
    "pivot_root": "155, b'/tmp', b'/tmp'",
    "chroot": "161, b'/tmp'",
    **{
        f"unshare {name}": f"272, {flag}"
        for name, flag in {
            "user": 0x10000000,
            "mount": 0x20000,
            "net": 0x40000000,
            "pid": 0x20000000,
            "ipc": 0x8000000,
            "uts": 0x4000000,
            "cgroup": 0x2000000,
            "user and mount": 0x10020000,
        }.items()
    },
    "clone into a user namespace": f"56, {0x10000000 | 17}, 0, 0, 0, 0",
    "clone3": "435, ctypes.create_string_buffer((0x10000000).to_bytes(8, 'little') + bytes(80)), 88",
    "setns": "308, os.open('/proc/self/ns/user', 0), 0",
    "add_key": "248, b'user', b'a', b'b', 1, -3",
    "request_key": "249, b'user', b'a', 0, -3",
    "keyctl": "250, 0, -3, 1",
    "bpf": "321, 0, ctypes.create_string_buffer(64), 64",
    "perf_event_open": "298, ctypes.create_string_buffer(128), 0, -1, -1, 0",
    "userfaultfd": "323, 0",
    "io_uring_setup": "425, 8, ctypes.create_string_buffer(128)",
    "open_tree": "428, -100, b'/', 1",
    "fsopen": "430, b'tmpfs', 0",
    "mount_setattr": "442, -100, b'/', 0, ctypes.create_string_buffer(32), 32",
    "open_by_handle_at": "304, -100, ctypes.create_string_buffer(64), 0",
    "init_module": "175, b'', 0, b''",
    "finit_module": "313, 0, b'', 0",
    "kexec_load": "246, 0, 0, 0, 0",
    "swapon": "167, b'/tmp/x', 0",
    "sethostname": "170, b'other', 5",
    "settimeofday": "164, ctypes.create_string_buffer(16), 0",
    "iopl": "172, 3",
    "ioperm": "173, 0, 1, 1",
    "acct": "163, b'/tmp/x'",
    "syslog": "103, 3, ctypes.create_string_buffer(4096), 4096",
    "quotactl": "179, 0x800002, 0, 0, 0",
    "fanotify_init": "300, 0, 0",
    "mknod of a disk": "133, b'/tmp/disk', 0o60666, 0x800",
    "setuid": "105, 0",
    "setgroups": "116, 1, (ctypes.c_uint32 * 1)(0)",
    "the other numbering of mount": f"{0x40000000 + 165}, b'none', b'/tmp', b'tmpfs', 0, 0",
}
STRICT = {
    "ptrace of itself": "101, 0, 0, 0, 0",
    "reading a parent's memory": "310, os.getppid(), 0, 0, 0, 0, 0",
    "kcmp": "312, os.getpid(), os.getpid(), 0, 0, 0",
    "personality": "135, 0x40000",
}
"""What the engine's own filter of system calls allows, since it stays within the container."""

WRITES = {
    "/proc/sys/kernel/core_pattern": "|/tmp/x",
    "/proc/sys/kernel/modprobe": "/tmp/x",
    "/proc/sys/kernel/hostname": "other",
    "/proc/sys/vm/drop_caches": "1",
    "/proc/sysrq-trigger": "h",
    "/proc/self/uid_map": "0 0 4294967295",
    "/proc/self/gid_map": "0 0 4294967295",
    "/proc/self/oom_score_adj": "-1000",
    "/proc/1/oom_score_adj": "-1000",
    "/sys/kernel/uevent_helper": "/tmp/x",
    "/sys/kernel/mm/transparent_hugepage/enabled": "never",
    "/sys/fs/cgroup/cgroup.procs": "0",
    "/sys/fs/cgroup/release_agent": "/tmp/x",
    "/sys/fs/cgroup/memory/release_agent": "/tmp/x",
    "/sys/power/state": "mem",
    "/dev/kmsg": "x",
    "/dev/mem": "x",
    "/etc/ld.so.preload": "/tmp/x",
    "/bin/sh": "x",
    "/usr/local/server/src/evil": "x",
}
READS = (
    "/proc/kcore",
    "/proc/keys",
    "/proc/sched_debug",
    "/dev/mem",
    "/dev/sda",
    "/dev/vda",
    "/etc/shadow",
    "/dev/kmsg",
)
SOCKETS = {
    "packets": "socket.AF_PACKET, socket.SOCK_RAW, 3",
    "raw ICMP": "socket.AF_INET, socket.SOCK_RAW, 1",
    "raw IP": "socket.AF_INET, socket.SOCK_RAW, 255",
    "raw IPv6": "socket.AF_INET6, socket.SOCK_RAW, 58",
    "keys": "15, socket.SOCK_RAW, 2",
    "other machines": "40, socket.SOCK_STREAM, 0",
    "bluetooth": "31, socket.SOCK_RAW, 1",
}
STRICT_SOCKETS = {
    "the audit's netlink": "socket.AF_NETLINK, socket.SOCK_RAW, 9",
    "the kernel's ciphers": "38, socket.SOCK_SEQPACKET, 0",
}
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


async def tried(shell: Shell, attempts: dict[str, str]) -> dict[str, str]:
    """HELD or REACHED of each attempt, which is the Python of a function without arguments."""
    table = "ATTEMPTS = {" + ",".join(f"{name!r}: {code}" for name, code in attempts.items()) + "}\n"
    program = base64.b64encode(f"{TRIES}{table}{LOOP}".encode()).decode()
    command = f"echo {program} | base64 -d > /tmp/tries.py; python3 /tmp/tries.py"
    _, output = await shell.run(command, seconds=120, limits=Limits(cpus=1, memory_mb=256))
    lines = [line.split(" ", 1) for line in output.replace("\r", "").split("\n")]
    told = {line[1]: line[0] for line in lines if line[0] in {"HELD", "REACHED"}}
    assert set(told) == set(attempts), output
    return told


def reached(told: dict[str, str]) -> list[str]:
    return [name for name, how in told.items() if how == "REACHED"]


async def test_the_probe_itself_tells_what_works_from_what_does_not(shell: Shell) -> None:
    told = await tried(shell, {"getpid": "call(39)", "writing": "write('/dev/null', b'x')", "nothing": "read('/none')"})

    assert told == {"getpid": "REACHED", "writing": "REACHED", "nothing": "HELD"}


async def test_no_system_call_leads_out(shell: Shell, driver: str) -> None:
    calls = CALLS | STRICT if driver == "sandbox" else CALLS

    assert reached(await tried(shell, {name: f"lambda: call({code})()" for name, code in calls.items()})) == []


async def test_no_file_of_the_kernel_is_changed_or_told(shell: Shell) -> None:
    attempts = {f"write {path}": f"write({path!r}, {text.encode()!r})" for path, text in WRITES.items()}
    attempts |= {f"read {path}": f"read({path!r})" for path in READS}

    assert reached(await tried(shell, attempts)) == []


async def test_no_socket_reaches_below_the_usual_ones(shell: Shell, driver: str) -> None:
    sockets = SOCKETS | STRICT_SOCKETS if driver == "sandbox" else SOCKETS
    attempts = {name: f"lambda: socket.socket({code})" for name, code in sockets.items()}
    attempts["changing a route"] = (
        "lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0).bind((0, 1)) or"
        " os.system('ip link add h8 type dummy') == 0"
    )

    assert reached(await tried(shell, attempts)) == []


async def test_no_socket_or_device_of_the_host_lies_about(shell: Shell) -> None:
    _, output = await shell.run("find / -xdev \\( -type s -o -type b \\) 2>/dev/null | sed 's/^/FOUND /'; ls /dev")

    assert "FOUND" not in output
    assert not {"sda", "vda", "nvme0n1", "mem", "kmsg", "fuse", "kvm", "loop0"} & set(output.split())


async def test_a_neighbour_is_neither_seen_nor_ended_nor_read(shell: Shell) -> None:
    """One holds a secret in its arguments, its environment, its memory and a segment; the other looks for it."""
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
    async with asyncio.timeout(60):
        while b"SEGMENT" not in b"".join(heard):
            await asyncio.sleep(0.05)
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
    async with asyncio.timeout(60):
        while b"SURVIVED" not in b"".join(heard):
            await asyncio.sleep(0.05)
    holder.cancel()
    await asyncio.wait((holder,))

    assert "SEEN" not in output
    assert "SEGMENT" not in output

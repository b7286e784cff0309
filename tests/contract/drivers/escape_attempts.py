"""Attempts to get out of a sandbox: each runs in its own process and prints the kernel's answer.

Their arguments are valid, or wrong in what the kernel looks at once it has allowed the call: an answer of any other
kind than a denial means that it was reached. Outside of sandboxes, where nothing denies them, each gets there.
"""

import struct

PROGRAM = """
import ctypes, errno, os, signal, socket, struct
libc = ctypes.CDLL(None, use_errno=True)
zeros = ctypes.create_string_buffer
before = lambda: None
def answer(attempt):
    child = os.fork()
    if child == 0:
        code = 254
        try:
            signal.alarm(5)
            before()
            code = 0 if attempt() is not False else 255
        except OSError as refused:
            code = refused.errno
        finally:
            os._exit(code)
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        return signal.Signals(os.WTERMSIG(status)).name
    return {0: "DONE", 255: "NOTHING", **errno.errorcode}.get(os.WEXITSTATUS(status), "ERROR")
def call(number, *arguments):
    whole = [ctypes.c_long(value) if isinstance(value, int) else value for value in (number, *arguments)]
    if libc.syscall(*whole) < 0:
        raise OSError(ctypes.get_errno(), "")
def write(path, text):
    return os.write(os.open(path, os.O_WRONLY | os.O_CREAT), text) > 0
def read(path, most=64):
    return bool(os.read(os.open(path, os.O_RDONLY), most).strip(b"\\0 \\n"))
def interface():
    asking = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
    asking.send(struct.pack("IHHII", 32, 16, 5, 1, 0) + struct.pack("BxHiII", 0, 0, 1, 0, 1))  # the loopback goes down
    refused = -struct.unpack_from("i", asking.recv(999), 16)[0]
    if refused:
        raise OSError(refused, "")
def apart():
    call(272, 0x20000 | 0x4000000 | 0x8000000 | 0x40000000)
    call(165, b"none", b"/", b"none", 0x44000, 0)
    call(165, b"none", b"/tmp", b"tmpfs", 0, 0)
def tell():
    return {name: answer(attempt) for name, attempt in ATTEMPTS.items()}
"""
SAY = """
for name, how in tell().items():
    print("TOLD", how, name, flush=True)
"""


def program(attempts: dict[str, str], *more: str) -> str:
    """Python that tries each of the expressions."""
    table = ",".join(f"{name!r}: lambda: {code}" for name, code in attempts.items())
    return "\n".join((PROGRAM, f"ATTEMPTS = {{{table}}}", *more))


def heard(output: str) -> dict[str, str]:
    """Return the outcome of each attempt by name, from the program's output."""
    lines = [line.split(" ", 2) for line in output.replace("\r", "").split("\n") if line.startswith("TOLD ")]
    return {name: how for _, how, name in lines}


NO_CALL = frozenset({"EPERM", "EACCES", "ENOSYS", "EAFNOSUPPORT"})
NO_FILE = NO_CALL | {"ENOENT", "EROFS", "NOTHING"}
NO_PROCESS = NO_FILE | {"ESRCH"}
UNMAPPED = "EINVAL"
"""The error of a namespace without root for a process that wants to become root."""


def beyond(outcomes: dict[str, str]) -> dict[str, str]:
    """Return the attempts that succeeded."""
    return {name: how for name, how in outcomes.items() if how not in _expected_errnos(name)}


def _expected_errnos(name: str) -> frozenset[str]:
    if name.startswith(("read ", "write ")):
        return NO_FILE
    if name.startswith("process "):
        return NO_PROCESS
    return NO_CALL | {UNMAPPED} if name == "setuid" else NO_CALL


def _handle() -> bytes:
    return struct.pack("Iiii", 8, 1, 2, 0)  # the root of a file system whose handles are numbers of inodes


ARRAY = struct.pack("IIII", 2, 4, 4, 1)
COUNTER = struct.pack("IIQQQQQ", 1, 64, 0, 0, 0, 0, 0x20)  # the processor's time of this process, without the kernel's
READ_ONLY = struct.pack("QQQQ", 1, 0, 0, 0)
ELSEWHERE = struct.pack("QQ", 65536, 8)  # nothing is there, which is looked at last
OWN_RIGHTS, TO_MOUNT = struct.pack("Ii", 0x20080522, 0), struct.pack("6I", *(1 << 21,) * 3, 0, 0, 0)
NEW_USER = struct.pack("Q", 0x10000000) + bytes(80)

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
    "clone3": f"435, zeros({NEW_USER!r}), 88",
    **{f"setns {kind}": f"308, os.open('/proc/self/ns/{kind}', 0), 0" for kind in ("mnt", "net", "uts", "ipc")},
    "add_key": "248, b'user', b'a', b'b', 1, -2",
    "request_key": "249, b'user', b'a', 0, -2",
    "keyctl": "250, 0, -2, 1",
    "bpf": f"321, 0, zeros({ARRAY!r}, 64), 64",
    "perf_event_open": f"298, zeros({COUNTER!r}, 128), 0, -1, -1, 0",
    "userfaultfd": "323, 1",
    "io_uring_setup": "425, 8, zeros(128)",
    "open_tree": "428, -100, b'/', 1",
    "fsopen": "430, b'tmpfs', 0",
    "mount_setattr": f"442, -100, b'/tmp', 0, zeros({READ_ONLY!r}), 32",
    "open_by_handle_at": f"304, os.open('/usr', 0), zeros({_handle()!r}), 0",
    "init_module": "175, b'', 0, b''",
    "finit_module": "313, 0, b'', 0",
    "kexec_load": "246, 0, 17, 0, 0",
    "swapon": "167, b'/tmp/x', 0",
    "sethostname": "170, b'other', 5",
    "settimeofday": "164, 0, 0",
    "iopl": "172, 3",
    "ioperm": "173, 0, 1, 1",
    "acct": "163, b'/tmp/x'",
    "syslog": "103, 3, zeros(4096), 4096",
    "quotactl": f"179, {0x80000100}, 0, 0, 0",
    "fanotify_init": "300, 0x200, 0",
    "mknod of a disk": "133, b'/tmp/disk', 0o60666, 0x800",
    "setuid": "105, 0",
    "setgroups": "116, 1, (ctypes.c_uint32 * 1)(0)",
    "capset": f"126, zeros({OWN_RIGHTS!r}), zeros({TO_MOUNT!r})",
    "the other numbering of mount": f"{0x40000000 + 165}, b'none', b'/tmp', b'tmpfs', 0, 0",
    "packets": "41, 17, 3, 3",
    "raw ICMP": "41, 2, 3, 1",
    "raw IP": "41, 2, 3, 255",
    "raw IPv6": "41, 10, 3, 58",
    "keys": "41, 15, 3, 2",
    "other machines": "41, 40, 1, 0",
    "bluetooth": "41, 31, 3, 1",
}
STRICT = {
    "being traced": "101, 0, 0, 0, 0",
    "seizing the first process": "101, 0x4206, 1, 0, 0",
    "seizing a parent": "101, 0x4206, os.getppid(), 0, 0",
    "reading a parent's memory": f"310, os.getppid(), zeros({ELSEWHERE!r}), 1, zeros({ELSEWHERE!r}), 1, 0",
    "writing a parent's memory": f"311, os.getppid(), zeros({ELSEWHERE!r}), 1, zeros({ELSEWHERE!r}), 1, 0",
    "kcmp": "312, os.getpid(), os.getppid(), 0, 0, 0",
    "personality": "135, 0x40000",
    "a handle of a file": "303, -100, b'/usr', zeros(b'\\x80', 256), zeros(8), 0",
    "the audit's netlink": "41, 16, 3, 9",
    "the kernel's ciphers": "41, 38, 5, 0",
}
"""Calls that the engine's own filter allows, since they stay within the container."""

NOT_EVERYWHERE = {
    *("init_module", "finit_module", "kexec_load", "iopl", "ioperm", "acct", "quotactl", "swapon"),
    *("io_uring_setup", "userfaultfd", "fanotify_init", "the other numbering of mount"),
    *("keys", "other machines", "bluetooth", "the kernel's ciphers"),
}
"""Calls that a kernel may be built without; all others are in every kernel."""
OF_THE_FIRST = {"seizing the first process"}
"""Attempts on the first process, which outside of sandboxes is the machine's."""

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
    "/usr/local/evil": "x",
    "/usr/evil": "x",
    "/etc/passwd": "x",
    "/evil": "x",
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
"""Files of the host that its root can read and write."""


def calls(driver: str) -> dict[str, str]:
    """Expressions by name, for a driver's filter of system calls."""
    table = CALLS | STRICT if driver == "sandbox" else CALLS
    return {name: f"call({arguments})" for name, arguments in table.items()} | {"an interface": "interface()"}


def files() -> dict[str, str]:
    return {f"write {path}": f"write({path!r}, {text.encode()!r})" for path, text in WRITES.items()} | {
        f"read {path}": f"read({path!r})" for path in READS
    }


def towards(process: int) -> dict[str, str]:
    """Attempts to reach a process by its id, which must fail for processes outside the sandbox."""
    return {
        f"process {process}: {name}": code
        for name, code in {
            "seized": f"call(101, 0x4206, {process}, 0, 0)",
            "read": f"call(310, {process}, zeros({ELSEWHERE!r}), 1, zeros({ELSEWHERE!r}), 1, 0)",
            "signaled": f"os.kill({process}, 0)",
            "held": f"call(434, {process}, 0)",
            "its words": f"read('/proc/{process}/cmdline')",
            "its files": f"os.listdir('/proc/{process}/root/tmp')",
        }.items()
    }

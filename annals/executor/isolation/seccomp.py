"""The system calls that a sandbox may not make, compiled to the filter program that the kernel runs.

All other calls are allowed, since runtimes of many versions must start. Denied calls reach beyond the sandbox or widen
the kernel's attack surface: nested namespaces, mounts, tracing, keys, modules, and rarely used features with a history
of vulnerabilities. If only a watchdog limits memory, calls that allocate memory out of its sight are denied too.
"""

import errno
import platform
import struct
from typing import NamedTuple

ALLOW = 0x7FFF0000
ERRNO = 0x00050000

CLONE_NAMESPACES = 0x7E020000  # mount, cgroup, uts, ipc, user, pid, net (a time namespace cannot be asked for by clone)
SOCKET_FAMILIES = (1, 2, 10)  # unix, inet, inet6
NETLINK = 16
NETLINK_ROUTE = 0
TERMINAL_INJECTION = (0x5412, 0x541C)  # TIOCSTI, TIOCLINUX
PERSONALITIES = (0, 8, 0x20000, 0x20008, 0xFFFFFFFF)


class Architecture(NamedTuple):
    """An instruction set in seccomp's terms. Numbers from `foreign_from` belong to a second ABI (0: there is none)."""

    audit: int
    foreign_from: int
    clone: int
    socket: int
    ioctl: int
    personality: int
    mmap: int
    denied: tuple[int, ...]
    missing: tuple[int, ...]
    unseen: tuple[int, ...]


# Since 5.1 new calls have one number everywhere: io_uring, the mount API, pidfd_getfd, quotactl_fd, memfd_secret.
_SHARED = (425, 426, 427, 428, 429, 430, 431, 432, 433, 438, 442, 443, 447, 467)
_CLONE3 = 435  # its flags lie in memory, out of a filter's sight: "not implemented" makes libc use clone

ARCHITECTURES = {
    "x86_64": Architecture(
        audit=0xC000003E,
        foreign_from=0x40000000,
        clone=56,
        socket=41,
        ioctl=16,
        personality=135,
        mmap=9,
        denied=(
            *(165, 166, 155, 161, 272, 308),  # mount, umount2, pivot_root, chroot, unshare, setns
            *(101, 310, 311, 312),  # ptrace, process_vm_readv, process_vm_writev, kcmp
            *(248, 249, 250),  # add_key, request_key, keyctl
            *(321, 298, 323, 300),  # bpf, perf_event_open, userfaultfd, fanotify_init
            *(246, 320, 175, 313, 176, 174, 177, 178),  # kexec, modules
            *(167, 168, 169, 163, 170, 171, 179, 180, 103),  # swap, reboot, acct, names, quota, nfs, syslog
            *(164, 227, 305, 159),  # clocks
            *(172, 173, 154, 134, 136, 139, 156, 153),  # ports, ldt, and what only old programs know
            *(303, 304, 212, 256, 279, 216),  # file handles, dcookies, pages of others, remap_file_pages
        ),
        missing=(_CLONE3,),
        unseen=(319, 29, 68, 64, 278),  # memfd_create, shmget, msgget, semget, vmsplice
    ),
    "aarch64": Architecture(
        audit=0xC00000B7,
        foreign_from=0,
        clone=220,
        socket=198,
        ioctl=29,
        personality=92,
        mmap=222,
        denied=(
            *(40, 39, 41, 51, 97, 268),
            *(117, 270, 271, 272),
            *(217, 218, 219),
            *(280, 241, 282, 262),
            *(104, 294, 105, 273, 106),
            *(224, 225, 142, 89, 161, 162, 60, 42, 116),
            *(170, 112, 266, 171),
            *(58,),
            *(264, 265, 18, 238, 239, 234),
        ),
        missing=(_CLONE3,),
        unseen=(279, 194, 186, 190, 75),
    ),
}

MAP_TYPE_AND_ANONYMOUS, MAP_SHARED_ANONYMOUS = 0x2F, 0x21

_LD_ABS, _JEQ, _JGE, _JSET, _AND, _RET = 0x20, 0x15, 0x35, 0x45, 0x54, 0x06
_NUMBER, _ARCH = 0, 4


def _argument(index: int) -> int:
    return 16 + 8 * index  # the low half: both architectures are little-endian, and the flags we look at are 32 bits


class _Program:
    """Instructions whose jumps use labels; `assemble` turns labels into distances."""

    def __init__(self) -> None:
        self._lines: list[tuple[int, int, str, str]] = []
        self._labels: dict[str, int] = {}

    def label(self, name: str) -> None:
        self._labels[name] = len(self._lines)

    def load(self, offset: int) -> None:
        self._lines.append((_LD_ABS, offset, "", ""))

    def mask(self, value: int) -> None:
        self._lines.append((_AND, value, "", ""))

    def jump(self, test: int, value: int, then: str = "", otherwise: str = "") -> None:
        self._lines.append((test, value, then, otherwise))

    def answer(self, value: int) -> None:
        self._lines.append((_RET, value, "", ""))

    def assemble(self) -> bytes:
        out = []
        for at, (code, value, then, otherwise) in enumerate(self._lines):
            jumps = [self._labels[name] - at - 1 if name else 0 for name in (then, otherwise)]
            if not all(0 <= distance <= 255 for distance in jumps):
                raise ValueError("a jump of the seccomp filter is too long")
            out.append(struct.pack("=HBBI", code, *jumps, value))
        return b"".join(out)


def compile_filter(machine: str = "", *, watched: bool = False) -> bytes:
    """Return the filter for `machine`, by default this one, as `struct sock_filter` records.

    If a watchdog limits memory (`watched`), calls that allocate memory out of its sight fail as not implemented, and
    memory can be shared only through files. Raises KeyError for an unknown machine.
    """
    arch = ARCHITECTURES[machine or platform.machine()]
    program = _Program()
    program.load(_ARCH)
    program.jump(_JEQ, arch.audit, otherwise="missing")
    program.load(_NUMBER)
    if arch.foreign_from:
        program.jump(_JGE, arch.foreign_from, then="missing")
    for number, name in ((arch.clone, "clone"), (arch.socket, "socket"), (arch.ioctl, "ioctl")):
        program.jump(_JEQ, number, then=name)
    program.jump(_JEQ, arch.personality, then="personality")
    for number in (*arch.denied, *_SHARED):
        program.jump(_JEQ, number, then="denied")
    if watched:
        program.jump(_JEQ, arch.mmap, then="mmap")
    for number in (*arch.missing, *(arch.unseen if watched else ())):
        program.jump(_JEQ, number, then="missing")
    program.answer(ALLOW)
    _by_argument(program)
    program.label("allowed")
    program.answer(ALLOW)
    program.label("denied")
    program.answer(ERRNO | errno.EPERM)
    program.label("missing")
    program.answer(ERRNO | errno.ENOSYS)
    program.label("family")
    program.answer(ERRNO | errno.EAFNOSUPPORT)
    return program.assemble()


def _by_argument(program: _Program) -> None:
    program.label("clone")
    program.load(_argument(0))
    program.jump(_JSET, CLONE_NAMESPACES, then="denied", otherwise="allowed")
    program.label("socket")
    program.load(_argument(0))
    for family in SOCKET_FAMILIES:
        program.jump(_JEQ, family, then="allowed")
    program.jump(_JEQ, NETLINK, otherwise="family")
    program.load(_argument(2))
    program.jump(_JEQ, NETLINK_ROUTE, then="allowed", otherwise="family")
    program.label("ioctl")
    program.load(_argument(1))
    first, second = TERMINAL_INJECTION
    program.jump(_JEQ, first, then="denied")
    program.jump(_JEQ, second, then="denied", otherwise="allowed")
    program.label("mmap")
    program.load(_argument(3))
    program.mask(MAP_TYPE_AND_ANONYMOUS)
    program.jump(_JEQ, MAP_SHARED_ANONYMOUS, then="denied", otherwise="allowed")
    program.label("personality")
    program.load(_argument(0))
    *usual, last = PERSONALITIES
    for value in usual:
        program.jump(_JEQ, value, then="allowed")
    program.jump(_JEQ, last, then="allowed", otherwise="denied")

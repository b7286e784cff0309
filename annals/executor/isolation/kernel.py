"""System calls that Python 3.11 does not offer."""

import ctypes
import os
import signal

PR_SET_PDEATHSIG = 1
CLONE_FS = 0x00000200
CLONE_NEWNS = 0x00020000
CLONE_NEWNET = 0x40000000
MS_NOSUID, MS_NODEV, MS_BIND, MS_REC, MS_SLAVE = 0x2, 0x4, 0x1000, 0x4000, 0x80000

AT_FDCWD, AT_EMPTY_PATH = -100, 0x1000
OPEN_TREE_CLONE, MOVE_MOUNT_F_EMPTY_PATH = 1, 4
MOUNT_ATTR_RDONLY, MOUNT_ATTR_NOSUID, MOUNT_ATTR_NODEV = 1, 2, 4
SYS_OPEN_TREE, SYS_MOVE_MOUNT, SYS_MOUNT_SETATTR = 428, 429, 442
"""Newer system calls have the same number on every architecture."""

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def _checked(result: int, call: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{call}: {os.strerror(number)}")


def unshare(flags: int) -> None:
    """Give the calling thread its own namespaces."""
    _checked(_libc.unshare(flags), "unshare")


def setns(fd: int, kind: int) -> None:
    """Move the calling thread into the namespace that `fd` refers to."""
    _checked(_libc.setns(fd, kind), "setns")


def mount(source: str, target: str, kind: str = "", flags: int = 0, options: str = "") -> None:
    arguments = [text.encode() for text in (source, target, kind)]
    _checked(_libc.mount(*arguments, ctypes.c_ulong(flags), options.encode() or None), f"mount {target}")


def die_with_parent(parent: int) -> None:
    """Let the kernel kill this process when the thread that forked it ends; exit if the parent has ended already."""
    _checked(_libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "prctl")
    if os.getppid() != parent:
        os._exit(1)


def has_capability(number: int) -> bool:
    """Return True if a capability, named by its number, is in effect for this process."""
    with open("/proc/self/status", encoding="ascii", errors="replace") as file:
        effective = next((line.split()[1] for line in file if line.startswith("CapEff:")), "0")
    return bool(int(effective, 16) >> number & 1)


class _MountAttributes(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_uint64) for name in ("set", "clear", "propagation", "userns"))


def sealed_copy(folder: str) -> int:
    """Return the descriptor of a detached read-only mount of `folder`, with the mounts below it."""
    flags = OPEN_TREE_CLONE | os.O_CLOEXEC
    fd = _call(SYS_OPEN_TREE, "open_tree", AT_FDCWD, ctypes.c_char_p(os.fsencode(folder)), flags)
    wanted = _MountAttributes(set=MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV)
    size = ctypes.c_size_t(ctypes.sizeof(wanted))
    try:
        _call(SYS_MOUNT_SETATTR, "mount_setattr", fd, ctypes.c_char_p(b""), AT_EMPTY_PATH, ctypes.byref(wanted), size)
    except OSError:
        os.close(fd)
        raise
    return fd


def attach(mount_fd: int, target: str) -> None:
    """Attach a detached mount at `target`, in the calling thread's mount namespace."""
    empty = ctypes.c_char_p(b"")
    destination = ctypes.c_char_p(os.fsencode(target))
    _call(SYS_MOVE_MOUNT, f"move_mount {target}", mount_fd, empty, AT_FDCWD, destination, MOVE_MOUNT_F_EMPTY_PATH)


def _call(number: int, call: str, *arguments: object) -> int:
    result = int(_libc.syscall(ctypes.c_long(number), *arguments))
    if result < 0:
        _checked(result, call)
    return result

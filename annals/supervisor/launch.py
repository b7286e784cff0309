"""A script that the supervisor runs: executes a program that ends with its parent, as an unprivileged user if asked.

A service without root must reach its files below folders that are closed to other users, such as `/root`. Changing
their mode would weaken the host. So the program gets a mount namespace of its own: an empty folder
covers each closed one, and holds only the service's folders, at their usual paths.
"""

import contextlib
import ctypes
import json
import os
import signal
import stat
import sys

PR_SET_PDEATHSIG = 1
CLONE_NEWNS = 0x00020000
MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 0x40000


def main() -> None:
    launch = json.loads(sys.argv[1])
    os.umask(0o077)
    if launch["uid"] is not None:
        _reach(launch["reach"], launch["uid"])
        os.setgroups([])
        os.setresgid(launch["uid"], launch["uid"], launch["uid"])
        os.setresuid(launch["uid"], launch["uid"], launch["uid"])
        os.chdir("/")  # this user may not be allowed to use the current folder
    _end_with_parent(launch["parent"], getattr(signal, launch["signal"]))
    os.execv(launch["argv"][0], launch["argv"])  # noqa: S606 (no shell is the point)


def launched(argv: list[str], *, uid: int | None, reach: list[str], end_by: str = "SIGKILL") -> list[str]:
    """Return the command line that runs `argv` (an absolute path first) as a child that ends with this process.

    With `uid` the program runs as that user, and can reach the paths in `reach`. The kernel sends it `end_by` when this
    process dies.
    """
    launch = {"parent": os.getpid(), "signal": end_by, "uid": uid, "reach": reach, "argv": argv}
    return [sys.executable, "-I", "-S", os.path.abspath(__file__), json.dumps(launch)]


def closed_ancestor(path: str, uid: int) -> str | None:
    """Return the topmost folder of `path` that this user may not traverse, by owner and mode, or None."""
    passed = ""
    for part in path.strip("/").split("/")[:-1]:
        passed += "/" + part
        status = os.stat(passed)
        needed = stat.S_IXUSR if status.st_uid == uid else stat.S_IXOTH
        if not status.st_mode & needed:
            return passed
    return None


def _reach(paths: list[str], uid: int) -> None:
    closed = {path: folder for path in paths if (folder := closed_ancestor(path, uid))}
    if not closed:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    covers = {folder for folder in closed.values() if not any(folder.startswith(f"{f}/") for f in closed.values())}
    try:
        _checked(libc.unshare(CLONE_NEWNS), "unshare")
        _mount(libc, "/", flags=MS_REC | MS_PRIVATE)
        kept = {path: os.open(path, os.O_PATH) for path in closed}
        for folder in covers:
            _mount(libc, folder, kind="tmpfs", data="mode=0711,size=1m")
        for path, descriptor in kept.items():
            with contextlib.suppress(FileExistsError):
                os.umask(0o066)
                os.makedirs(path, mode=0o711)
                os.umask(0o077)
            _mount(libc, path, flags=MS_BIND | MS_REC, source=f"/proc/self/fd/{descriptor}")
            os.close(descriptor)
    except OSError as error:
        names = ", ".join(sorted(covers))
        sys.exit(
            f"uid {uid} may not pass {names}, and no private view could be made of it ({error}). "
            "Choose a data folder that every user can reach, or set ANNALS_DATABASE_URL and ANNALS_REDIS_URL."
        )


def _mount(
    libc: ctypes.CDLL, target: str, *, flags: int = 0, source: str = "none", kind: str = "", data: str = ""
) -> None:
    encoded = (source.encode(), target.encode(), kind.encode() or None, ctypes.c_ulong(flags), data.encode() or None)
    _checked(libc.mount(*encoded), f"mount {target}")


def _checked(result: int, call: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{call}: {os.strerror(number)}")


def _end_with_parent(parent: int, number: int) -> None:
    """Request the signal from the kernel, and exit if the parent died first. A change of user clears it."""
    _checked(ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, number), "prctl")
    if os.getppid() != parent:
        sys.exit(1)


if __name__ == "__main__":
    main()

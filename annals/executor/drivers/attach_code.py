"""Shows code to an idle function server: as root by a mount in its namespace, otherwise by links in its folder."""

import itertools
import os
import threading
from collections.abc import Iterator
from pathlib import Path

from annals.executor.errors import StartFailed, Unsuited
from annals.executor.isolation import kernel
from annals.executor.isolation.limits import processes

MOST_LINKS = 2000
"""Linking more files takes longer than starting a new instance with its code."""


def mount(code: Path, bubblewrap: int, target: str) -> None:
    """Mount `code` read-only at `target` inside the sandbox of a bubblewrap process. Blocking; needs root.

    A thread joins the sandbox's namespace and then ends, since it cannot return. Raises StartFailed, OSError.
    """
    inside = list(itertools.islice(processes(bubblewrap), 2))[1:]
    if not inside:
        raise StartFailed("The idle instance has ended.")
    failures: list[OSError] = []

    def enter() -> None:
        handles: list[int] = []
        try:
            kernel.unshare(kernel.CLONE_FS)
            handles.append(kernel.sealed_copy(str(code)))
            handles.append(os.open(f"/proc/{inside[0]}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC))
            kernel.setns(handles[1], kernel.CLONE_NEWNS)
            kernel.attach(handles[0], target)
        except OSError as failure:
            failures.append(failure)
        finally:
            for handle in handles:
                os.close(handle)

    thread = threading.Thread(target=enter, name="attach")
    thread.start()
    thread.join()
    if failures:
        raise failures[0]


def link(code: Path, folder: Path) -> None:
    """Fill `folder`, which a sandbox sees read-only, with hard links to the files of `code`. Blocking.

    Raises Unsuited if the deployment has too many files, OSError.
    """
    found = list(itertools.islice(_entries(str(code), ""), MOST_LINKS + 1))
    if len(found) > MOST_LINKS:
        raise Unsuited("The deployment has too many files to be linked.")
    for name, is_folder in found:
        target = os.path.join(folder, name)
        if is_folder:
            os.mkdir(target)
            os.chmod(target, 0o755)  # noqa: S103 # nosec B103 for any umask
        else:
            os.link(os.path.join(code, name), target, follow_symlinks=False)


def _entries(root: str, below: str) -> Iterator[tuple[str, bool]]:
    """Yield the names below a folder and whether each is a folder; folders come before their content."""
    with os.scandir(os.path.join(root, below)) as entries:
        for entry in entries:
            name = os.path.join(below, entry.name)
            is_folder = entry.is_dir(follow_symlinks=False)
            yield name, is_folder
            if is_folder:
                yield from _entries(root, name)

"""Folders as hostile code creates them."""

import os
from pathlib import Path


def deep(folder: Path, levels: int, *, content: bytes = b"", keep_open: bool = False) -> int:
    """Make a folder with so many below each other, each named `d`, and a file in the last; its handle if kept open."""
    folder.mkdir()
    handle = os.open(folder, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir("d", dir_fd=handle)
        below = os.open("d", os.O_RDONLY, dir_fd=handle)
        os.close(handle)
        handle = below
    file = os.open("file", os.O_WRONLY | os.O_CREAT, dir_fd=handle)
    os.write(file, content)
    os.close(file)
    if keep_open:
        return handle
    os.close(handle)
    return -1

"""The list of processes is complete again once a full disk has space."""

import asyncio

import pytest

from annals.supervisor import folders
from annals.supervisor.folders import ProcessList


class FullDisk:
    """Fails until it has space."""

    def __init__(self) -> None:
        self.has_space, self.written = False, asyncio.Event()
        self.content: object = None

    def write(self, _name: str, content: object) -> None:
        if not self.has_space:
            raise OSError(28, "No space left on device")
        self.content = content
        self.written.set()


async def test_process_list_is_rewritten_once_a_full_disk_has_space(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "LIST_RETRY_SECONDS", 0.01)
    disk = FullDisk()
    written = ProcessList(disk, lambda: ["rows"])  # type: ignore[arg-type,list-item]

    written.write()
    assert disk.content is None
    disk.has_space = True
    await asyncio.wait_for(disk.written.wait(), 60)

    assert disk.content == ["rows"]


async def test_closed_list_is_not_written_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "LIST_RETRY_SECONDS", 0.01)
    disk = FullDisk()
    written = ProcessList(disk, list)  # type: ignore[arg-type]

    written.write()
    written.close()
    disk.has_space = True
    await asyncio.sleep(0.05)

    assert disk.content is None

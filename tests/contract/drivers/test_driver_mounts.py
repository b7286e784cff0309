"""Mounts of both drivers: no destination lies below a folder whose content user code controls."""

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from annals.domain.ports import Limits
from annals.executor.drivers import layout
from annals.executor.drivers.container import ContainerSandbox
from annals.executor.drivers.docker import DockerDriver
from annals.executor.drivers.layout import CONTROLLED
from annals.executor.drivers.port import Construct, Sandbox, Serve
from annals.executor.drivers.sandbox import SandboxDriver
from tests.contract.drivers.hosts import PYTHON, configuration

LIMITS = Limits(cpus=1, memory_mb=128)
ONE = ("--tmpfs", "--proc", "--dev", "--remount-ro", "--dir")
TWO = ("--bind", "--ro-bind", "--dev-bind", "--symlink")
SET_BEFORE = {"--perms": 1, "--size": 1, "--uid": 1, "--gid": 1, "--hostname": 1, "--setenv": 2, "--chdir": 1}
FLAGS = ("--unshare-", "--die-with-parent", "--new-session", "--clearenv")
Mount = tuple[str, str]
"""A source, which may be empty, and a destination."""


class Recorded(Exception):
    """The mounts of a sandbox that was not started."""

    def __init__(self, mounts: list[Mount]) -> None:
        super().__init__()
        self.mounts = mounts


class RecordingSandboxes(SandboxDriver):
    async def _start(self, plan: Any, sink: Any) -> Sandbox:
        raise Recorded(list(mounts_of(plan.words)))


class RecordingContainers(DockerDriver):
    async def _start(self, image: Any, options: dict[str, Any], sink: Any, **serving: Any) -> ContainerSandbox:
        volumes = [tuple(volume.split(":")[:2]) for volume in options["volumes"]]
        raise Recorded([*volumes, *(("", path) for path in options["tmpfs"])])


def mounts_of(words: Sequence[str]) -> Iterator[Mount]:
    """The mounts that bubblewrap is asked for; a word that is not known fails, so that none is passed over."""
    left = iter(words)
    for word in left:
        if word in TWO:
            source, destination = itertools.islice(left, 2)
            yield ("" if word == "--symlink" else source, destination)
        elif word in ONE:
            yield ("", next(left))
        elif word in SET_BEFORE:
            list(itertools.islice(left, SET_BEFORE[word]))
        else:
            assert word.startswith(FLAGS), word


async def tasks(folder: Path) -> tuple[list[Serve], list[Construct]]:
    """Everything that a driver is asked to start: with code and idle; to build, and to hold a packed source."""
    work, code = folder / "work", folder / "work" / "code" / "abc"
    code.mkdir(parents=True)

    def path(name: str) -> Path:
        made = work / "t" / name
        for part in ("io", "source", "build", "output", "cache"):
            (made / part).mkdir(parents=True)
        (made / "archive").touch()
        return made

    serves = [
        Serve(name="s", runtime=PYTHON, code=shown, folder=path(f"s{number}"), environment={}, limits=LIMITS)
        for number, shown in enumerate((code, None))
    ]
    builds = [
        Construct(
            name="b",
            runtime=PYTHON,
            folder=path(f"b{held}"),
            commands="",
            environment={},
            limits=LIMITS,
            cache=work / "t" / f"b{held}" / "cache",
            waits_for_commands=held,
        )
        for held in (False, True)
    ]
    return serves, builds


async def test_no_mount_destination_lies_below_a_folder_of_user_code(
    folder: Path, driver: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = folder / "certificates.pem"
    bundle.touch()
    monkeypatch.setenv("PIP_CERT", str(bundle))
    config = configuration(folder, driver)
    config.work.mkdir(mode=0o711)
    made = RecordingContainers(config) if driver == "docker" else RecordingSandboxes(config)
    await made.open()
    recorded: list[list[Mount]] = []
    try:
        serves, builds = await tasks(folder)
        for start in (*(made.serve(task, print) for task in serves), *(made.construct(task, print) for task in builds)):
            with pytest.raises(Recorded) as stopped:
                await start
            recorded.append(stopped.value.mounts)
    finally:
        await made.close()

    assert len(recorded) == 4
    for mounts in recorded:
        destinations = [Path(destination) for _, destination in mounts]
        controlled = [Path(path) for source, path in mounts if "/t/" in source or "/code/" in source]
        assert controlled
        for path in controlled:
            assert [found for found in destinations if found != path and found.is_relative_to(path)] == []
            assert destinations.count(path) == 1


@pytest.mark.parametrize("path", CONTROLLED)
def test_host_file_below_a_folder_of_user_code_is_not_shown(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "is_file", lambda _: True)
    named = {"PIP_CERT": f"{path}/certificates.pem", "PIP_CLIENT_CERT": f"{path}-beside.pem"}

    assert layout.passed_through(("PIP_*",), named)[1] == [Path(f"{path}-beside.pem")]

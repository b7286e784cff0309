"""The choice of the bubblewrap program, and warnings about an old one."""

from pathlib import Path

import msgspec
import pytest
from structlog.testing import capture_logs

from annals.executor.drivers import bubblewrap
from annals.executor.drivers.bubblewrap import Bubblewrap, find, parsed
from annals.executor.drivers.sandbox import SandboxDriver
from annals.executor.errors import BubblewrapUnusable
from annals.executor.service.doctor import bubblewrap_check
from annals.executor.service.main import warn_about_isolation
from tests.contract.drivers.hosts import configuration


def program(folder: Path, said: str, *, mode: int = 0o755) -> Path:
    """A program called bwrap that says its version."""
    folder.mkdir(exist_ok=True)
    made = folder / "bwrap"
    made.write_text(f"#!/bin/sh\necho '{said}'\n")
    made.chmod(mode)
    return made


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder in which programs are looked for."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


@pytest.mark.parametrize(
    ("said", "version"),
    [
        ("bubblewrap 0.11.0\n", (0, 11, 0)),
        ("bubblewrap 0.12\n", (0, 12, 0)),
        ("bubblewrap 1.0.2-rc1", (1, 0, 2)),
        ("", ()),
        ("0.12.0", ()),
    ],
)
def test_version_is_read_from_the_programs_words(said: str, version: tuple[int, ...]) -> None:
    assert parsed(said) == version


@pytest.mark.parametrize("said", ["bubblewrap 0.12.0", "bubblewrap 0.13.1", "bubblewrap 1.0.0"])
def test_system_program_that_is_new_enough_is_preferred(system: Path, said: str) -> None:
    made = program(system, said)

    found = find()
    assert (found.path, found.safe, found.bundled) == (made, True, False)


@pytest.mark.parametrize(
    ("said", "mode"), [("bubblewrap 0.11.2", 0o755), ("no version", 0o755), ("bubblewrap 0.12.0", 0o4755)]
)
def test_bundled_program_is_used_if_the_systems_is_old_unknown_or_setuid(system: Path, said: str, mode: int) -> None:
    program(system, said, mode=mode)

    assert find() == Bubblewrap(bubblewrap.bundled_path(), find().version, "bundled", bundled=True)
    assert len(find().version) == 3


def test_named_program_is_used_whatever_the_system_has(system: Path, tmp_path: Path) -> None:
    program(system, "bubblewrap 0.13.0")
    named = program(tmp_path / "own", "bubblewrap 0.10.0")

    found = find(str(named))
    assert (found.path, found.version, found.safe) == (named, (0, 10, 0), False)


@pytest.mark.parametrize("named", ["/nowhere/bwrap", "/bin/true", "/"])
def test_named_program_that_is_no_bubblewrap_is_an_error_with_the_setting(named: str) -> None:
    with pytest.raises(BubblewrapUnusable, match=r"^ANNALS_BWRAP names .*\.$"):
        find(named)
    check = bubblewrap_check(named)
    assert not check.ok
    assert "ANNALS_BWRAP" in check.fix


def test_named_program_that_is_setuid_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BubblewrapUnusable, match="setuid"):
        find(str(program(tmp_path / "own", "bubblewrap 0.12.0", mode=0o4755)))


def test_doctor_warns_of_an_old_program_and_of_no_new_one(tmp_path: Path) -> None:
    old = bubblewrap_check(str(program(tmp_path / "old", "bubblewrap 0.11.9")))
    new = bubblewrap_check(str(program(tmp_path / "new", "bubblewrap 0.12.0")))

    assert "CVE-2026-87766" in old.detail
    assert "ANNALS_BWRAP" in old.fix
    assert new.fix == ""
    assert "0.12.0" in new.detail


class WorkingDriver(SandboxDriver):
    async def problem(self) -> str:
        return ""


@pytest.mark.parametrize(("said", "warned"), [("bubblewrap 0.11.9", True), ("bubblewrap 0.12.0", False)])
async def test_start_warns_of_an_old_program_alone(tmp_path: Path, said: str, *, warned: bool) -> None:
    named = str(program(tmp_path / "own", said))
    config = msgspec.structs.replace(configuration(tmp_path, "sandbox"), bwrap=named)
    with capture_logs() as logs:
        await warn_about_isolation(WorkingDriver(config), config)

    assert [line["event"] for line in logs] == ["bubblewrap_has_a_known_hole"] * warned

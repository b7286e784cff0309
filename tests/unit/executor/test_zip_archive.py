"""A zip source is unpacked as a tar is, or refused with a message and without leftovers."""

import io
import os
import shutil
import stat
import struct
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from annals.executor.archives.archive import ArchiveBounds
from annals.executor.archives.zip_archive import ZipReader
from annals.executor.errors import BadArchive
from tests.unit.executor.archives import zipped
from tests.unit.executor.test_archive import FILES, refused, unpacked

STORED, DEFLATED = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "below" / "target"


def made(write: Callable[[zipfile.ZipFile], object]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        write(archive)
    return buffer.getvalue()


def one(name: str, content: bytes = b"x", *, mode: int = 0o100644, made_by: int = 3) -> bytes:
    """A zip of one entry with such attributes."""
    info = zipfile.ZipInfo("placeholder")
    info.filename, info.external_attr, info.create_system = name, mode << 16, made_by
    return made(lambda archive: archive.writestr(info, content))


class Unseekable(io.RawIOBase):
    """A target of a zip that is written in one pass: sizes follow the contents."""

    def __init__(self) -> None:
        self.data = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, piece: bytes) -> int:  # type: ignore[override]
        self.data += piece
        return len(piece)


@pytest.mark.parametrize("compression", [STORED, DEFLATED])
def test_stored_and_deflated_files_arrive_whole(compression: int, target: Path) -> None:
    large = {"large": os.urandom(300_000) + bytes(700_000)}

    assert unpacked(zipped(FILES | large, compression=compression), target) == FILES | large


def test_zip_that_was_written_as_a_stream_arrives_whole(target: Path) -> None:
    stream = Unseekable()
    with zipfile.ZipFile(stream, "w", DEFLATED) as archive:
        for name, content in FILES.items():
            archive.writestr(name, content)

    assert unpacked(bytes(stream.data), target) == FILES


@pytest.mark.skipif(not shutil.which("zip"), reason="the program zip is not installed")
def test_output_of_the_zip_program_arrives_whole(target: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    for name, content in FILES.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(content)
    packed = tmp_path / "a.zip"
    subprocess.run(["zip", "-qr", str(packed), "."], cwd=source, check=True)

    assert unpacked(packed.read_bytes(), target) == FILES


def test_zip64_sizes_and_counts_are_read() -> None:
    def write(archive: zipfile.ZipFile) -> None:
        with archive.open("a", "w", force_zip64=True) as file:
            file.write(b"wide")
        for number in range(66_000):
            archive.writestr(f"{number}", b"")

    reader = ZipReader(io.BytesIO(made(write)), 100_000, lambda source: source)
    assert sum(1 for _ in reader) == 66_001
    content = bytearray()
    for member in reader:
        if member.name == "a":
            reader.copy(content.extend)
    assert content == b"wide"


def test_modes_and_folders_are_kept(target: Path) -> None:
    unpacked(zipped({"empty/": b"", "run.sh": b"#!", "main.py": b""}, executable={"run.sh"}), target)

    assert (target / "empty").is_dir()
    assert stat.S_IMODE((target / "run.sh").stat().st_mode) == 0o755
    assert stat.S_IMODE((target / "main.py").stat().st_mode) == 0o644


def test_separators_of_windows_become_folders(target: Path) -> None:
    assert unpacked(one("lib\\a.txt", made_by=0), target) == {"lib/a.txt": b"x"}


def test_empty_zip_has_no_files(target: Path) -> None:
    assert unpacked(made(lambda _: None), target) == {}


def patched(archive: bytes, mark: bytes, offset: int, value: bytes) -> bytes:
    """An archive with bytes changed at an offset behind the last record of a kind."""
    at = archive.rindex(mark) + offset
    return archive[:at] + value + archive[at + len(value) :]


def overlapping() -> bytes:
    """Two entries of the directory that share one entry's bytes."""
    archive = zipped({"a": bytes(1000)})
    at = archive.index(b"PK\x01\x02")
    directory, end = archive[at : archive.index(b"PK\x05\x06")], archive[archive.index(b"PK\x05\x06") :]
    end = end[:8] + struct.pack("<2HL", 2, 2, 2 * len(directory)) + end[16:]
    return archive[:at] + directory * 2 + end


WHOLE = zipped({"main.py": b"print(1)\n" * 50, "lib/a.txt": b"a" * 500})
DIRECTORY, LOCAL, END = b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06"
HOSTILE = {
    "climbing name": (one("../evil"), "climbs out"),
    "climbing name of windows": (one("..\\evil", made_by=0), "climbs out"),
    "absolute name": (one("/etc/evil"), "absolute"),
    "link": (one("l", b"/etc/passwd", mode=0o120777), "link"),
    "device": (one("d", b"", mode=0o020644), "device"),
    "file where a folder is": (zipped({"a/b": b"", "a": b""}), "both as a folder"),
    "deep folders": (one("a/" * 100 + "x"), "deeper"),
    "long name": (one("n" * 5000), "longer than 4,096"),
    "overlapping entries": (overlapping(), "overlap"),
    "encrypted": (patched(WHOLE, DIRECTORY, 8, b"\1"), "encrypted"),
    "encrypted in its own header only": (patched(WHOLE, LOCAL, 6, b"\1"), "encrypted"),
    "rare compression": (patched(WHOLE, DIRECTORY, 10, b"\x0e"), "rare kind"),
    "contradicting name": (patched(WHOLE, LOCAL, 30, b"evil"), "contradicts"),
    "contradicting compression": (patched(WHOLE, LOCAL, 8, b"\0"), "contradicts"),
    "size that lies below": (patched(WHOLE, DIRECTORY, 24, struct.pack("<L", 10)), "larger than"),
    "size that lies above": (patched(WHOLE, DIRECTORY, 24, struct.pack("<L", 10_000)), "cut off"),
    "packed size that lies": (patched(WHOLE, DIRECTORY, 20, struct.pack("<L", 2)), "cut off"),
    "wrong checksum": (patched(WHOLE, DIRECTORY, 16, b"\0\0\0\0"), "checksum"),
    "wrong place": (patched(WHOLE, DIRECTORY, 42, struct.pack("<L", WHOLE.rindex(LOCAL) + 1)), "directory"),
    "count that lies": (patched(WHOLE, END, 8, struct.pack("<2H", 9, 9)), "directory"),
    "several volumes": (patched(WHOLE, END, 4, struct.pack("<2H", 1, 1)), "multi-volume"),
    "cut off": (WHOLE[:-30], "cut off"),
    "something behind the end": (WHOLE + b"surprise", "follows"),
    "something before the beginning": (WHOLE[:4] + b"surprise" + WHOLE[4:], "directory"),
    "end alone": (END, "cut off"),
    "name that is not UTF-8": (patched(patched(one("abc"), DIRECTORY, 46, b"\xff"), DIRECTORY, 9, b"\x08"), "UTF-8"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_zips_are_refused_with_a_sentence(name: str, target: Path) -> None:
    archive, words = HOSTILE[name]

    assert words in refused(archive, target)


def test_zip_bomb_runs_into_the_ratio_or_the_total(target: Path) -> None:
    bomb = zipped({f"{n}": bytes(2**24) for n in range(8)})

    assert "bomb" in refused(bomb, target, ArchiveBounds(total_bytes=2**40, ratio=100))
    shutil.rmtree(target.parent)
    assert "more than" in refused(bomb, target, ArchiveBounds(total_bytes=2**25))


def test_zip_of_too_many_entries_is_refused_before_they_are_read(target: Path) -> None:
    assert "more than 10 entries" in refused(
        zipped({f"{n}": b"" for n in range(11)}), target, ArchiveBounds(entries=10)
    )


@pytest.mark.parametrize(("at", "value"), [(6, 64), (8, 0x20), (8, 0x40)], ids=["version", "patch", "encryption"])
def test_entry_that_needs_more_than_plain_zip_is_refused(at: int, value: int, target: Path) -> None:
    archive = bytearray(WHOLE)
    archive[WHOLE.index(b"PK\x01\x02") + at] |= value

    assert "make it with plain zip" in refused(bytes(archive), target)


@pytest.mark.parametrize(("name", "content", "mode"), [("a", b"x", 0o040755), ("a", b"", 0o040755), ("a/", b"x", 0)])
def test_directory_with_name_or_content_of_a_file_is_refused(
    name: str, content: bytes, mode: int, target: Path
) -> None:
    assert "a directory in it has the name or the content of a file" in refused(one(name, content, mode=mode), target)


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(
    cut=st.integers(0, 2 * len(WHOLE)),
    flips=st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(0, 255)), max_size=4),
)
def test_damaged_zip_is_refused_or_unpacks_as_with_the_library(
    cut: int, flips: list[tuple[int, int]], target: Path
) -> None:
    damaged = bytearray(WHOLE)
    for offset, value in flips:
        damaged[offset] = value
    archive = bytes(damaged[:cut])
    shutil.rmtree(target.parent, ignore_errors=True)
    try:
        files = unpacked(archive, target)
    except BadArchive:
        return
    with zipfile.ZipFile(io.BytesIO(archive)) as library:
        expected = {info.filename: library.read(info) for info in library.infolist() if not info.is_dir()}
    assert sorted(files.values()) == sorted(expected.values())

"""Uploaded archives are unpacked exactly, or refused with a message and without leftovers."""

import gzip
import os
import stat
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from annals.executor.archives.archive import ArchiveBounds, unpack
from annals.executor.errors import BadArchive
from tests.unit.executor.archives import END, entry, gzipped, header, record, tar_of, zipped

FILES = {"main.py": b"print(1)\n", "lib/deep/a.txt": b"a" * 1500, "empty": b""}


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "below" / "target"


def unpacked(
    archive: bytes, target: Path, bounds: ArchiveBounds | None = None, *, links: bool = False
) -> dict[str, bytes]:
    target.parent.mkdir(exist_ok=True)
    file = target.parent / "archive"
    file.write_bytes(archive)
    unpack(file, target, bounds or ArchiveBounds(), links=links)
    return {str(p.relative_to(target)): p.read_bytes() for p in target.rglob("*") if p.is_file() and not p.is_symlink()}


def refused(archive: bytes, target: Path, bounds: ArchiveBounds | None = None, *, links: bool = False) -> str:
    """Unpack an archive that must fail; return the message, after a check that nothing was left or went outside."""
    with pytest.raises(BadArchive) as error:
        unpacked(archive, target, bounds, links=links)
    assert sorted(p.name for p in target.parent.rglob("*")) == ["archive"]
    assert [p.name for p in target.parent.parent.iterdir()] == [target.parent.name]
    sentence = str(error.value)
    assert sentence.endswith(".")
    assert sentence[0].isupper()
    return sentence


@pytest.mark.parametrize(
    "pack", [bytes, gzip.compress, zstandard.ZstdCompressor().compress], ids=["plain", "gzip", "zstd"]
)
@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_archive_format_is_detected_from_its_content(pack: Callable[[bytes], bytes], form: int, target: Path) -> None:
    assert unpacked(pack(tar_of(FILES, form=form)), target) == FILES


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_names_longer_than_a_header_arrive_whole(form: int, target: Path) -> None:
    name = "/".join(["folder-with-a-long-name"] * 10) + "/file-é.txt"

    assert unpacked(tar_of({name: b"x"}, form=form), target) == {name: b"x"}


def test_leading_dot_folder_is_the_root_itself(target: Path) -> None:
    assert unpacked(tar_of({"./": b"", "./a/": b"", "./a/b": b"1"}), target) == {"a/b": b"1"}


def test_later_file_of_the_same_name_replaces_the_earlier_one(target: Path) -> None:
    assert unpacked(entry(b"a", b"old") + entry(b"a", b"new") + END, target) == {"a": b"new"}


def test_gzip_in_several_members_is_read_to_its_end(target: Path) -> None:
    whole = tar_of(FILES)

    assert unpacked(gzip.compress(whole[:700]) + gzip.compress(whole[700:]), target) == FILES


def test_modes_are_ours_and_special_bits_are_gone(target: Path) -> None:
    raw = bytearray(entry(b"run", b"x"))
    raw[100:108] = b"0006777\0"
    raw[148:156] = b" " * 8
    raw[148:156] = b"%06o\0 " % sum(raw[:512])
    old = os.umask(0o077)
    try:
        unpacked(bytes(raw) + entry(b"dir/plain", b"") + END, target)
    finally:
        os.umask(old)

    assert stat.S_IMODE((target / "run").stat().st_mode) == 0o755
    assert stat.S_IMODE((target / "dir").stat().st_mode) == 0o755
    assert stat.S_IMODE((target / "dir" / "plain").stat().st_mode) == 0o644


HOSTILE = {
    "climbing name": (entry(b"../evil", b"x") + END, "climbs out"),
    "climbing in the middle": (entry(b"a/../../evil", b"x") + END, "climbs out"),
    "absolute name": (entry(b"/etc/evil", b"x") + END, "absolute"),
    "climbing folder": (entry(b"../evil/", kind=b"5") + END, "climbs out"),
    "pax name that climbs": (entry(b"h", record("path", "../evil"), kind=b"x") + entry(b"a", b"x") + END, "climbs out"),
    "pax name with NUL": (entry(b"h", record("path", "a\0b"), kind=b"x") + entry(b"a", b"x") + END, "NUL"),
    "global pax name that climbs": (entry(b"h", record("path", "/e"), kind=b"g") + entry(b"a", b"x") + END, "absolute"),
    "gnu long name that climbs": (entry(b"h", b"../evil\0", kind=b"L") + entry(b"a", b"x") + END, "climbs out"),
    "symlink": (entry(b"l", kind=b"2", link=b"/etc/passwd") + END, "link"),
    "hard link": (entry(b"a", b"x") + entry(b"l", kind=b"1", link=b"a") + END, "link"),
    "character device": (entry(b"d", kind=b"3") + END, "character device"),
    "block device": (entry(b"d", kind=b"4") + END, "block device"),
    "named pipe": (entry(b"d", kind=b"6") + END, "named pipe"),
    "sparse file": (entry(b"d", kind=b"S") + END, "sparse"),
    "pax sparse file": (entry(b"h", record("GNU.sparse.major", "1"), kind=b"x") + entry(b"a", b"x") + END, "sparse"),
    "unknown kind": (entry(b"d", kind=b"Z") + END, "not known"),
    "negative size": (header(b"a", size_field=b"\xff" * 12) + END, "impossible"),
    "huge size": (header(b"a", size_field=b"\x80" + b"\x7f" * 11) + END, "impossible"),
    "size that is no number": (header(b"a", size_field=b"12x45678901\0") + END, "number"),
    "pax size that hides an entry": (
        entry(b"h", record("size", "0"), kind=b"x") + entry(b"a", header(b"../evil")) + END,
        "climbs out",
    ),
    "pax sparse map": (entry(b"h", record("GNU.sparse.map", "0,1"), kind=b"x") + entry(b"a", b"x") + END, "sparse"),
    "pax link of a file's kind": (
        entry(b"h", record("linkpath", "/etc/passwd"), kind=b"x") + entry(b"l", kind=b"1") + END,
        "link",
    ),
    "a part of another volume": (entry(b"d", kind=b"M") + END, "multi-volume"),
    "gzip within gzip": (gzip.compress(gzipped(FILES)), "not a tar"),
    "a zip behind an end": (END + b"PK\x03\x04", "empty"),
    "xz": (b"\xfd7zXZ\x00" + bytes(99), "an xz archive"),
    "bzip2": (b"BZh91AY" + bytes(99), "a bzip2 archive"),
    "7z": (b"7z\xbc\xaf\x27\x1c" + bytes(99), "a 7-Zip archive"),
    "a zstd window beyond memory": (b"\x28\xb5\x2f\xfd\x00\xa8" + bytes(600), "cannot be decompressed"),
    "pax size that lies": (entry(b"h", record("size", "9" * 15), kind=b"x") + entry(b"a", b"x") + END, "cut off"),
    "pax size negative": (entry(b"h", record("size", "-1"), kind=b"x") + entry(b"a", b"x") + END, "impossible"),
    "pax without length": (entry(b"h", b"path=/x\n", kind=b"x") + entry(b"a", b"x") + END, "cannot be read"),
    "pax length zero": (entry(b"h", b"0 path=x\n", kind=b"x") + entry(b"a", b"x") + END, "cannot be read"),
    "pax beyond a megabyte": (entry(b"h", record("comment", "x" * 2**20), kind=b"x") + END, "larger than a megabyte"),
    "name that is not UTF-8": (entry(b"\xff\xfe", b"x") + END, "UTF-8"),
    "file where a folder is": (entry(b"a/b", b"x") + entry(b"a", b"x") + END, "both as a folder"),
    "folder where a file is": (entry(b"a", b"x") + entry(b"a/b", b"x") + END, "both as a folder"),
    "no end marker": (entry(b"a", b"x"), "cut off"),
    "cut in a file": (entry(b"a", b"x" * 4096)[:2000], "cut off"),
    "garbage behind the end": (entry(b"a", b"x") + END + b"surprise", "follows its end"),
    "wrong checksum later": (entry(b"a", b"x") + b"\1" + header(b"b")[1:] + END, "checksum"),
    "nothing": (b"", "empty"),
    "only an end": (END, "empty"),
    "text": (b"#!/bin/sh\necho hello\n" * 100, "not a tar"),
    "a few bytes": (b"hi", "not a tar"),
    "truncated gzip": (gzipped(FILES)[:-20], "cut off"),
    "damaged gzip": (gzipped(FILES)[:20] + b"\0\0\0\0" + gzipped(FILES)[24:], "damaged"),
    "gzip with a tail": (gzipped(FILES) + b"tail", "something else follows"),
    "truncated zstd": (zstandard.ZstdCompressor().compress(os.urandom(9000))[:-400], "not a tar"),
    "component too long": (entry(b"h", record("path", "a" * 300), kind=b"x") + entry(b"a", b"x") + END, "255"),
    "path too long": (
        entry(b"h", record("path", "aa/" * 600 + "x"), kind=b"x") + entry(b"a", b"x") + END,
        "longer than",
    ),
    "too deep": (entry(b"h", record("path", "a/" * 100 + "x"), kind=b"x") + entry(b"a", b"x") + END, "deeper"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_archives_are_refused_with_a_sentence(name: str, target: Path) -> None:
    archive, words = HOSTILE[name]

    assert words in refused(archive, target)


def test_build_output_that_is_a_zip_is_refused_by_name(target: Path) -> None:
    assert "a zip archive" in refused(zipped({"main.py": b"x"}), target, links=True)


def test_bomb_runs_into_the_ratio(target: Path) -> None:
    bomb = gzip.compress(header(b"a", size=2**30) + bytes(2**28))

    assert "bomb" in refused(bomb, target, ArchiveBounds(total_bytes=2**40, ratio=100))


def test_bombs_of_every_packing_run_into_a_bound(target: Path) -> None:
    whole = tar_of({"a": bytes(2**27)})
    for bomb in (zstandard.ZstdCompressor(level=19).compress(whole), gzip.compress(whole[: 2**20]) * 128):
        assert "more than" in refused(bomb, target, ArchiveBounds(total_bytes=2**25))
    members = entry(b"h", record("comment", "x" * 1_000_000), kind=b"x") * 200
    assert "bomb" in refused(gzip.compress(members), target, ArchiveBounds(ratio=10))


def test_links_that_meet_each_other_inside_are_kept(target: Path) -> None:
    archive = (
        entry(b"store/pkg/cli.js", b"#!")
        + entry(b"a/b/up", kind=b"2", link=b"../..")
        + entry(b"a/b/tool", kind=b"2", link=b"up/store/pkg/../pkg/cli.js")
        + entry(b"ring", kind=b"2", link=b"ring")
        + END
    )
    unpacked(archive, target, links=True)

    assert (target / "a" / "b" / "tool").read_bytes() == b"#!"


def test_large_archive_runs_into_the_total(target: Path) -> None:
    assert "more than 1,000 bytes" in refused(tar_of({"a": b"x" * 2000}), target, ArchiveBounds(total_bytes=1000))


def test_too_many_entries_are_refused(target: Path) -> None:
    assert "more than 10 entries" in refused(
        tar_of({f"f{n}": b"" for n in range(11)}), target, ArchiveBounds(entries=10)
    )


def test_unpacking_that_takes_too_long_is_refused(target: Path) -> None:
    assert "too long" in refused(tar_of(FILES), target, ArchiveBounds(seconds=-1))


def test_artefact_keeps_relative_links_that_stay_inside(target: Path) -> None:
    archive = (
        entry(b"pkg/cli.js", b"#!")
        + entry(b"bin/tool", kind=b"2", link=b"../pkg/cli.js")
        + entry(b"bin/python3", kind=b"2", link=b"/opt/runtime/bin/python3")
        + entry(b"copy.js", kind=b"1", link=b"pkg/cli.js")
        + END
    )
    unpacked(archive, target, links=True)

    assert os.readlink(target / "bin" / "tool") == "../pkg/cli.js"
    assert os.readlink(target / "bin" / "python3") == "/opt/runtime/bin/python3"
    assert (target / "copy.js").samefile(target / "pkg" / "cli.js")


@pytest.mark.parametrize(
    ("archive", "words"),
    [
        (entry(b"l", kind=b"2", link=b"../../etc") + END, "leads outside"),
        (entry(b"l", kind=b"2", link=b"/etc/passwd") + END, "leads outside"),
        (entry(b"l", kind=b"2", link=b"/opt/runtime/../../etc") + END, "leads outside"),
        (entry(b"l", kind=b"2", link=b"") + END, "leads outside"),
        (entry(b"d/l", kind=b"2", link=b"a/../../..") + END, "leads outside"),
        (entry(b"l", kind=b"2", link=b".") + entry(b"l/evil", b"x") + END, "both as a folder"),
        (entry(b"l", kind=b"1", link=b"missing") + END, "does not hold"),
        (entry(b"l", kind=b"1", link=b"../archive") + END, "climbs out"),
        (entry(b"s", kind=b"2", link=b"t") + entry(b"l", kind=b"1", link=b"s") + END, "not a file"),
        (entry(b"a/b/up", kind=b"2", link=b"../..") + entry(b"a/b/l", kind=b"2", link=b"up/..") + END, "together"),
        (entry(b"a/b/l", kind=b"2", link=b"up/../x") + entry(b"a/b/up", kind=b"2", link=b"../..") + END, "together"),
        (
            entry(b"a/one", kind=b"2", link=b"..")
            + entry(b"a/b/two", kind=b"2", link=b"../one")
            + entry(b"a/b/c/l", kind=b"2", link=b"../two/../etc")
            + END,
            "together",
        ),
        (
            entry(b"bin", kind=b"2", link=b"/opt/runtime/bin") + entry(b"l", kind=b"2", link=b"bin/../../etc") + END,
            "leads outside",
        ),
        (
            entry(b"d/bin", kind=b"2", link=b"/opt/runtime/bin") + entry(b"d/l", kind=b"2", link=b"bin/../x") + END,
            "together",
        ),
        (entry(b"h", record("linkpath", "../../etc"), kind=b"x") + entry(b"l", kind=b"2", link=b"a") + END, "outside"),
        (entry(b"h", b"/etc/passwd\0", kind=b"K") + entry(b"l", kind=b"2", link=b"a") + END, "leads outside"),
    ],
)
def test_artefact_with_a_link_that_leaves_is_refused(archive: bytes, words: str, target: Path) -> None:
    assert words in refused(archive, target, links=True)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(
    cut=st.integers(0, 4096),
    flips=st.lists(st.tuples(st.integers(0, 4095), st.integers(0, 255)), max_size=6),
    pack=st.sampled_from([bytes, gzip.compress]),
)
def test_damaged_archives_write_nothing_outside(
    cut: int, flips: list[tuple[int, int]], pack: Callable[[bytes], bytes], tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("damaged")
    target = root / "below" / "target"
    target.parent.mkdir()
    raw = bytearray(pack(tar_of(FILES | {"b/c": b"y" * 700})))
    for at, value in flips:
        if at < len(raw):
            raw[at] = value
    (target.parent / "archive").write_bytes(raw[: max(1, len(raw) - cut)])
    try:
        unpack(target.parent / "archive", target, ArchiveBounds(), links=True)
    except BadArchive:
        assert not target.exists()
    assert [p.name for p in root.iterdir()] == ["below"]
    assert {p.name for p in target.parent.iterdir()} <= {"archive", "target"}

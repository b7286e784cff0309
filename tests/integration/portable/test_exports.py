"""The loader can verify an export, and so can a script that does not use Annals."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from annals import verify_export
from annals.store.errors import StoreError
from annals.store.portable.export import ExportSelection
from annals.store.portable.reading import ExportInvalid, verify
from annals.store.proof.notes import Signer, Verifier, existing_key
from tests.integration.portable.instances import Instance
from tests.integration.projections.history import P

Lines = list[bytes]
WHOLE = ExportSelection(contents=True)


def read(path: Path) -> Lines:
    return zstandard.ZstdDecompressor().stream_reader(path.open("rb")).read().split(b"\n")[:-1]


def write(path: Path, lines: Lines) -> Path:
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return path


def offline(path: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    """Run the script without Annals."""
    command = [sys.executable, "-I", verify_export.__file__, str(path), *options]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def verifier_of(instance: Instance) -> Verifier:
    return existing_key(instance.settings.seal_key).verifier


async def test_export_is_lines_of_json_that_prove_themselves(here: Instance, tmp_path: Path) -> None:
    done = await here.export(tmp_path / "e.ndjson.zst", WHOLE)

    lines = [json.loads(line) for line in read(tmp_path / "e.ndjson.zst")]
    events = [line for line in lines if "kind" not in line]
    checked = offline(tmp_path / "e.ndjson.zst", "--key", done.key)

    assert len(events) == done.events == await here.log.reader.position()
    assert [event["position"] for event in events] == [*range(1, done.events + 1)]
    assert events[1]["state"]["key"]["key_id"] == "k"
    assert checked.returncode == 0, checked.stderr
    assert f"OK: every event of the log, up to position {done.position}\n" in checked.stdout
    assert "contents 3, archives 2" in checked.stdout


async def test_script_explains_an_invalid_file_or_key(here: Instance, tmp_path: Path) -> None:
    await here.export(tmp_path / "e", WHOLE)
    lines = read(tmp_path / "e")
    for found, options, says in (
        ([*lines[:1], b"x"], (), "a line is none of an export"),
        ([b"# a page"], (), "was cut off, or is no export"),
        ([], (), "is empty, was cut off"),
        (lines[:-1], (), "the file was cut off"),
        (lines, ("--key", "x+y+z"), "the verifier key is none: `annals proof key` prints it"),
        (lines, ("--key", "key"), "the verifier key is none: `annals proof key` prints it"),
    ):
        refused = offline(write(tmp_path / "plain", found), *options)
        assert (refused.returncode, says in refused.stderr) == (1, True), refused.stderr


async def test_projects_export_proves_each_of_its_events(here: Instance, tmp_path: Path) -> None:
    await here.export(tmp_path / "e", ExportSelection(project="q"))
    plain = write(tmp_path / "plain", read(tmp_path / "e"))

    summary = verify(plain, verifier_of(here))

    assert not summary.whole
    assert summary.events == 2
    assert "each one as it was sealed" in offline(plain).stdout
    assert b'"stream":"project:p"' not in plain.read_bytes()


async def test_export_can_go_on_from_a_position(here: Instance, tmp_path: Path) -> None:
    done = await here.export(tmp_path / "e", ExportSelection(since=5))
    plain = write(tmp_path / "plain", read(tmp_path / "e"))

    assert done.events == await here.log.reader.position() - 5
    assert offline(plain, "--key", done.key).returncode == 0
    assert verify(plain, verifier_of(here)).header.since == 5


def _event(lines: Lines, number: int) -> int:
    """The line of an event."""
    return [index for index, line in enumerate(lines) if line.startswith(b'{"position":')][number]


def _edit(pattern: bytes, to: bytes, number: int = 4) -> Callable[[Lines], Lines]:
    def change(lines: Lines) -> Lines:
        at = _event(lines, number)
        changed, count = re.subn(pattern, to, lines[at], count=1)
        assert count, lines[at]
        return [*lines[:at], changed, *lines[at + 1 :]]

    return change


def _without(number: int) -> Callable[[Lines], Lines]:
    return lambda lines: [line for index, line in enumerate(lines) if index != _event(lines, number)]


def _swapped(lines: Lines) -> Lines:
    one, other = _event(lines, 3), _event(lines, 4)
    return [*lines[:one], lines[other], lines[one], *lines[other + 1 :]]


def _doubled(lines: Lines) -> Lines:
    at = _event(lines, 3)
    return [*lines[:at], lines[at], *lines[at:]]


def _content(change: Callable[[dict[str, object]], object]) -> Callable[[Lines], Lines]:
    def changed(lines: Lines) -> Lines:
        at = next(index for index, line in enumerate(lines) if line.startswith(b'{"kind":"content"'))
        record = json.loads(lines[at])
        change(record)
        return [*lines[:at], json.dumps(record).encode(), *lines[at + 1 :]]

    return changed


EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
BROKEN: dict[str, Callable[[Lines], Lines]] = {
    "a changed state": _edit(rb'"state":\{', b'"state":{ '),
    "a changed time": _edit(rb'"recorded":1', b'"recorded":2'),
    "a changed stream": _edit(rb'"stream":"(\w+)', b'"stream":"other'),
    "a changed topic": _edit(rb'"topic":"', b'"topic":"x'),
    "a changed version": _edit(rb'"version":\d+', b'"version":7'),
    "a missing event": _without(3),
    "a missing last event": _without(-1),
    "two swapped events": _swapped,
    "an event twice": _doubled,
    "a cut tail": lambda lines: lines[:-1],
    "a cut middle": lambda lines: [*lines[:4], lines[-1]],
    "something behind the end": lambda lines: [*lines, lines[-1]],
    "no header": lambda lines: lines[1:],
    "a changed signature": lambda lines: [lines[0].replace(b"position ", b"position 1"), *lines[1:]],
    "a changed content": _content(lambda record: record.update(data="AAAA")),
    "a foreign content": _content(lambda record: record.update(data="", digest=EMPTY)),
    "a missing piece": lambda lines: [line for line in lines if not line.startswith(b'{"kind":"piece"')],
    "no json": lambda lines: [*lines[:4], b"nonsense", *lines[4:]],
    "nothing": lambda _lines: [],
}


async def test_broken_export_is_refused_and_nothing_is_written(here: Instance, there: Instance, tmp_path: Path) -> None:
    done = await here.export(tmp_path / "e", WHOLE)
    lines, before = read(tmp_path / "e"), await there.everything()
    accepted = []
    for case, change in BROKEN.items():
        broken = write(tmp_path / "broken", change(lines))
        if offline(broken, "--key", done.key).returncode != 1:
            accepted.append(f"{case}, by the script")
        try:
            await there.load(broken, key=verifier_of(here))
            accepted.append(f"{case}, by the loader")
        except ExportInvalid:
            pass
        assert await there.everything() == before, case

    assert accepted == []


async def test_damaged_file_is_refused(here: Instance, there: Instance, tmp_path: Path) -> None:
    await here.export(tmp_path / "e.ndjson.zst", WHOLE)
    packed = (tmp_path / "e.ndjson.zst").read_bytes()
    damaged = tmp_path / "damaged.ndjson.zst"
    damaged.write_bytes(packed[: len(packed) // 2])

    assert offline(damaged).returncode == 1
    with pytest.raises((ExportInvalid, StoreError)):
        await there.load(damaged)


async def test_export_signed_by_another_key_is_refused(here: Instance, there: Instance, tmp_path: Path) -> None:
    await here.export(tmp_path / "e", WHOLE)
    plain = write(tmp_path / "plain", read(tmp_path / "e"))
    another = Signer("annals/another", bytes(32)).verifier

    assert "not signed by annals/another" in offline(plain, "--key", str(another)).stderr
    with pytest.raises(ExportInvalid, match="not signed by annals/another"):
        await there.load(plain, key=another)


async def test_export_from_the_middle_cannot_be_loaded(here: Instance, there: Instance, tmp_path: Path) -> None:
    await here.export(tmp_path / "e", ExportSelection(project=P, since=3))

    with pytest.raises(ExportInvalid, match="from the beginning"):
        await there.load(tmp_path / "e")

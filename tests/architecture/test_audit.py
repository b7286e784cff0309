"""The audit reports unknown results as unknown, and the bill of materials is complete, valid and reproducible."""

import json
import re
import tomllib
from datetime import date, timedelta

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from tests.architecture import bundled
from tests.architecture.audit import Package, judge, read
from tests.architecture.bundled import Bundled, Hole, Table, Version
from tests.architecture.sbom import LOCK, bill, pinned, written
from tests.architecture.source import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
FOUND = b'{"dependencies": [{"name": "a", "version": "1", "vulns": [{"id": "CVE-1", "fix_versions": ["2"]}]}]}'

SILENT = b'{"dependencies": [{"name": "a", "skip_reason": "not found"}]}'


def test_known_vulnerability_fails_and_names_its_fix() -> None:
    verdict = judge(read(FOUND))

    assert not verdict.clean
    assert verdict.lines == ["pip-audit: a 1 has CVE-1, fixed in 2"]


@pytest.mark.parametrize("answer", [b"", b"Traceback", SILENT])
def test_unreachable_advisory_service_is_never_reported_as_clean(answer: bytes) -> None:
    verdict = judge(read(answer))

    assert verdict.clean
    assert not verdict.known
    assert "NOT CHECKED" in verdict.lines[-1]


def test_checked_packages_are_reported() -> None:
    verdict = judge([Package("a", "1"), Package("b", "2")])

    assert (verdict.clean, verdict.known) == (True, True)
    assert verdict.lines == ["pip-audit: no known hole in 2 packages"]


TODAY = date(2026, 12, 1)
KNOWN = Table(
    reviewed=TODAY,
    reasons={"why": "it is not reachable"},
    hole=[
        Hole("postgres", ["CVE-1"], ["17.9", "18.4"]),
        Hole("valkey", ["CVE-2"], ["9.0.4", "9.1.1"]),
        Hole("node", ["CVE-3"], ["22.5.0", "24.1.0"]),
        Hole("bubblewrap", ["CVE-4"], ["0.12.0"], accepted="why"),
    ],
)


@pytest.mark.parametrize(
    ("program", "version", "clean"),
    [
        ("postgres", (18, 3), False),
        ("postgres", (18, 4), True),
        ("postgres", (17, 9), True),
        ("postgres", (17, 8), False),
        ("postgres", (19, 0), True),
        ("valkey", (9, 0, 9), True),
        ("valkey", (9, 1, 0), False),
        ("valkey", (8, 1, 9), False),
        ("node", (22, 5, 0), True),
        ("node", (20, 99, 0), False),
        ("node", (24, 0, 9), False),
    ],
)
def test_bundled_program_with_a_known_vulnerability_fails_the_audit(
    program: str, version: Version, *, clean: bool
) -> None:
    verdict = bundled.judge([Bundled(program, version)], KNOWN, TODAY)

    assert (verdict.clean, verdict.known) == (clean, True)
    assert ("has CVE-" in verdict.lines[0]) != clean


def test_accepted_vulnerability_is_shown_with_its_reason() -> None:
    verdict = bundled.judge([Bundled("bubblewrap", (0, 11, 0))], KNOWN, TODAY)

    assert verdict.clean
    assert verdict.lines == ["bundled: bubblewrap 0.11.0 has CVE-4, fixed in 0.12.0; accepted: it is not reachable"]


def test_program_without_a_version_and_a_table_not_reviewed_are_unknown() -> None:
    silent = bundled.judge([Bundled("node", ())], KNOWN, TODAY)
    stale = bundled.judge([Bundled("node", (24, 1, 0))], KNOWN, TODAY + timedelta(days=91))

    assert not silent.known
    assert not stale.known
    assert all("NOT CHECKED" in verdict.lines[-1] for verdict in (silent, stale))


def test_table_of_vulnerabilities_names_programs_reasons_and_tests() -> None:
    known = bundled.table()

    assert {hole.program for hole in known.hole} == set(bundled.LINES)
    assert {hole.accepted for hole in known.hole} - {""} == set(known.reasons)
    for hole in known.hole:
        assert hole.ids
        assert all(map(bundled.numbers, hole.fixed))
    for file, name in re.findall(r"(tests/\S+\.py)::(\w+)", " ".join(known.reasons.values())):
        assert f"def {name}(" in (ROOT / file).read_text()


def test_bundled_programs_have_no_unaccepted_vulnerability(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundled, "_node", lambda _: ())  # a registry is asked by the audit alone
    verdict = bundled.judge(bundled.ask(), bundled.table(), TODAY)

    assert verdict.clean, verdict.lines
    assert verdict.lines[-1] == "bundled: NOT CHECKED, no version could be told of node, node, node"


def test_bill_of_materials_is_valid_and_whole() -> None:
    text = LOCK.read_text()
    document = written(bill(text, PROJECT))
    listed = json.loads(document)
    packages = list(pinned(text))

    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(document) is None
    assert document == written(bill(text, PROJECT)), "it differs from one time to the next"
    assert {c["name"] for c in listed["components"]} == {p.name for p in packages}
    assert len(packages) == sum(line[:1].isalnum() for line in text.splitlines())
    assert all(p.hashes and p.asked_by for p in packages)
    direct = next(d["dependsOn"] for d in listed["dependencies"] if d["ref"] == "annals")
    assert len(direct) == len(PROJECT["dependencies"])

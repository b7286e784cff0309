"""The audit says what it knows and no more, and the bill of materials is whole, valid and the same each time."""

import json
import tomllib

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from tests.house.audit import Package, judge, read
from tests.house.sbom import LOCK, bill, pinned, written
from tests.house.source import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
FOUND = b'{"dependencies": [{"name": "a", "version": "1", "vulns": [{"id": "CVE-1", "fix_versions": ["2"]}]}]}'

SILENT = b'{"dependencies": [{"name": "a", "skip_reason": "not found"}]}'


def test_a_known_hole_is_a_failure_that_names_its_fix() -> None:
    verdict = judge(read(FOUND))

    assert not verdict.clean
    assert verdict.lines == ["pip-audit: a 1 has CVE-1, fixed in 2"]


@pytest.mark.parametrize("answer", [b"", b"Traceback", SILENT])
def test_where_nobody_answers_nothing_is_said_to_be_clean(answer: bytes) -> None:
    verdict = judge(read(answer))

    assert verdict.clean
    assert not verdict.known
    assert "NOT CHECKED" in verdict.lines[-1]


def test_what_was_checked_is_said_to_be() -> None:
    verdict = judge([Package("a", "1"), Package("b", "2")])

    assert (verdict.clean, verdict.known) == (True, True)
    assert verdict.lines == ["pip-audit: no known hole in 2 packages"]


def test_the_bill_of_materials_is_valid_and_whole() -> None:
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

"""`make audit`: known holes in what the lock file names and packages bundle, and risky code of our own. Fails for any.

Advisories come from a service. Where it does not answer, or not for all packages, nothing is known of them, and that is
what a line says, in capitals; `--require` makes it a failure, for a release.
"""

import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

from tests.architecture import bundled
from tests.architecture.bundled import Verdict
from tests.architecture.source import ROOT

LOCK = "requirements-dev.lock"
"""Holds all of `requirements.lock` and what tests need."""

SECONDS = 120
CODE = ("-m", "bandit", "--quiet", "-c", "pyproject.toml", "-r", "annals", "-ll", "-ii")
ADVISORIES = ("-m", "pip_audit", "--disable-pip", "--require-hashes", "--format", "json", "--progress-spinner", "off")


class Hole(msgspec.Struct):
    id: str
    fix_versions: list[str] = []


class Package(msgspec.Struct):
    name: str
    version: str = ""
    vulns: list[Hole] = []
    skip_reason: str = ""


class _Report(msgspec.Struct):
    dependencies: list[Package]


def judge(packages: Sequence[Package]) -> Verdict:
    """Return the lines about the packages that the advisory service was asked for, or none without its answer."""
    lines = [
        f"pip-audit: {p.name} {p.version} has {hole.id}, fixed in {', '.join(hole.fix_versions) or 'no release'}"
        for p in packages
        for hole in p.vulns
    ]
    clean, unanswered = not lines, sum(bool(p.skip_reason) for p in packages)
    if not packages:
        lines.append("pip-audit: NOT CHECKED, the advisory service could not be asked")
    elif unanswered:
        lines.append(f"pip-audit: NOT CHECKED, the advisory service told nothing of {unanswered} of {len(packages)}")
    elif clean:
        lines.append(f"pip-audit: no known hole in {len(packages)} packages")
    return Verdict(lines, clean, known=bool(packages) and not unanswered)


def read(output: bytes) -> list[Package]:
    """Return the packages of a report, or none for invalid text."""
    try:
        return msgspec.json.decode(output, type=_Report).dependencies
    except msgspec.MsgspecError:
        return []


def ask() -> list[Package]:
    """Return the answer of the advisory service about the lock file, or nothing if it is unreachable."""
    command = [sys.executable, *ADVISORIES, "--requirement", LOCK]
    try:
        asked = subprocess.run(command, cwd=ROOT, capture_output=True, check=False, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        return []
    return read(asked.stdout)


def main() -> None:
    risky = subprocess.run([sys.executable, *CODE], cwd=ROOT, check=False).returncode
    print(f"bandit: {'see above' if risky else 'clean'}")
    verdicts = judge(ask()), bundled.judge(bundled.ask(), bundled.table(), datetime.now(UTC).date())
    print("\n".join(line for verdict in verdicts for line in verdict.lines))
    clean, known = (all(getattr(verdict, name) for verdict in verdicts) for name in ("clean", "known"))
    if risky or not clean or ("--require" in sys.argv and not known):
        sys.exit(1)


if __name__ == "__main__":
    main()

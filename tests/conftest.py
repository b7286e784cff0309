"""Fixtures and plugins of every tier: the counts of the tiers, and one instance for the session."""

import json
import os
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.instance import AnnalsInstance, instance_of_its_own

# The time of an example depends on the load of the machine, so no example has a deadline.
settings.register_profile("no_deadline", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("no_deadline")

TIERS = ("architecture", "unit", "integration", "replay", "simulation", "contract", "api", "faults", "load", "compose")
FLOOR = Path(__file__).with_name("tiers.json")


class Times:
    """The times and numbers of tests by tier, from the reports of all processes of a run."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.run: Counter[str] = Counter()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        tier = tier_of(report.nodeid)
        self.seconds[tier] += report.duration
        self.run[tier] += report.when == "call"

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self.seconds:
            terminalreporter.section("tiers")
            for tier in sorted(self.seconds, key=TIERS.index):
                terminalreporter.write_line(f"{tier:12} {self.run[tier]:5} tests {self.seconds[tier]:8.1f} s")


def tier_of(nodeid: str) -> str:
    """Return the tier of a test: its folder below tests/."""
    parts = nodeid.split("/")
    return parts[1] if len(parts) > 2 and parts[0] == "tests" else ""


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Times(), "tests-tiers-times")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    unknown = {item.nodeid for item in items if tier_of(item.nodeid) not in TIERS}
    if unknown:
        raise pytest.UsageError(f"these tests have no tier folder: {sorted(unknown)}")
    items.sort(key=lambda item: TIERS.index(tier_of(item.nodeid)))
    if config.option.keyword or config.option.markexpr:
        return
    everything = config.args == config.getini("testpaths")
    whole = {tier for tier in TIERS if everything or f"tests/{tier}" in config.args}
    counts = Counter(tier_of(item.nodeid) for item in items)
    least = {tier: number for tier, number in json.loads(FLOOR.read_text()).items() if tier in whole}
    fewer = {tier: (counts[tier], number) for tier, number in least.items() if counts[tier] < number}
    if fewer:
        raise pytest.UsageError(f"fewer tests than before (found, at least): {fewer}; lower {FLOOR.name} on purpose")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):  # type: ignore[no-untyped-def]
    outcome = yield
    report = outcome.get_result()
    if report.skipped and os.environ.get("CI") and not hasattr(report, "wasxfail"):
        # CI installs every service that a test needs, so a missing one is a fault of the run.
        report.outcome = "failed"
        report.longrepr = f"skipped in CI, where every service must be installed: {report.longrepr}"


@pytest.fixture(scope="session")
def annals_instance() -> Iterator[AnnalsInstance]:
    """Run an instance that all tests share; each test creates its own projects and functions."""
    with instance_of_its_own() as instance:
        yield instance

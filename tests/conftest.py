"""Fixtures and plugins of every tier: the counts of the tiers, and one instance for the session."""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.instance import AnnalsInstance, instance_of_its_own

pytest_plugins = ["tests.tiers"]

# The time of an example depends on the load of the machine, so no example has a deadline.
settings.register_profile("no_deadline", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("no_deadline")


@pytest.fixture(scope="session")
def annals_instance() -> Iterator[AnnalsInstance]:
    """Run an instance that all tests share; each test creates its own projects and functions."""
    with instance_of_its_own() as instance:
        yield instance

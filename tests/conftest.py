"""What every tier may use: the tiers' book-keeping, and one whole instance a session."""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.instance import AnnalsInstance, instance_of_its_own

pytest_plugins = ["tests.tiers"]

# How long an example takes says what the machine does besides; whatever else the profile is made of stays.
settings.register_profile("patient", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


@pytest.fixture(scope="session")
def annals_instance() -> Iterator[AnnalsInstance]:
    """A running instance that the session's tests share; they make projects and functions of their own in it."""
    with instance_of_its_own() as instance:
        yield instance

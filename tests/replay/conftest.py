"""Replays run on the services and the histories of the integration tests."""

from tests.integration.conftest import database, database_url, empty_database_url, postgres
from tests.integration.projections.conftest import history, log

__all__ = ["database", "database_url", "empty_database_url", "history", "log", "postgres"]

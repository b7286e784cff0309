"""Fixtures: a log with a history, its seal, and a second destination of checkpoints."""

from pathlib import Path

import pytest

from annals.store.log.archives import Archives
from annals.store.log.log import EventLog
from annals.store.postgres.database import Database
from tests.integration.projections.conftest import history, log
from tests.integration.proof.sealed import Sealed

__all__ = ["history", "log", "sealed"]


@pytest.fixture
async def sealed(log: EventLog, database: Database, tmp_path: Path) -> Sealed:
    return Sealed(log, Archives(database, log.contents.blobs), tmp_path)

"""A log with a history, its seal, and a second place for checkpoints."""

from pathlib import Path

import pytest

from annals.store.archives import Archives
from annals.store.database import Database
from annals.store.log import EventLog
from tests.integration.projections.conftest import history, log
from tests.integration.proof.sealed import Sealed

__all__ = ["history", "log", "sealed"]


@pytest.fixture
async def sealed(log: EventLog, database: Database, tmp_path: Path) -> Sealed:
    return Sealed(log, Archives(database, log.contents.blobs), tmp_path)

"""The log of every released version folds to the same rows as in that version."""

import importlib.metadata
from pathlib import Path

import pytest

from annals.store.portable.reading import verify
from annals.store.postgres.migrate import migrate
from tests.integration.portable.instances import Instance
from tests.replay.freezing import log_of, sums, sums_of, versions


def test_this_release_has_a_frozen_log() -> None:
    assert importlib.metadata.version("annals") in versions(), "python -m tests.replay.freezing <version>"


@pytest.mark.parametrize("version", versions())
async def test_frozen_log_folds_to_the_same_rows(empty_database_url: str, tmp_path: Path, version: str) -> None:
    migrate(empty_database_url)
    frozen = sums_of(version)
    async with Instance.opened(empty_database_url, tmp_path / "instance") as instance:
        loaded = await instance.load(log_of(version))
        found = await sums(instance.database, {table: kept["columns"] for table, kept in frozen.items()})

    assert loaded.summary.events == verify(log_of(version), None).events > 500
    assert {table: kept for table, kept in frozen.items() if found[table] != kept} == {}
    assert sum(kept["rows"] for kept in frozen.values()) > 200

"""The checks of the invariants find each planted fault, and pass again once it is removed."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import psycopg
import pytest

from tests.client import Client
from tests.faults import invariants
from tests.instance import AnnalsInstance
from tests.sandboxes import left_by

pytestmark = pytest.mark.timeout(300)
HELLO = "module.exports = async ({ res }) => res.text('hello')"


@contextmanager
def changed(instance: AnnalsInstance, change: str, revert: str) -> Iterator[None]:
    """Change rows while inside, without the triggers of their tables."""
    with psycopg.connect(instance.database_url, autocommit=True) as conn:
        conn.execute("SET session_replication_role = replica")
        assert conn.execute(change.encode()).rowcount > 0
        try:
            yield
        finally:
            assert conn.execute(revert.encode()).rowcount > 0


@contextmanager
def leaked_instance(instance: AnnalsInstance) -> Iterator[None]:
    leaked = instance.data / "work" / "i" / "leaked"
    leaked.mkdir()
    assert "the instance leaked" in left_by(instance.data)
    yield
    leaked.rmdir()


@contextmanager
def half_a_build(instance: AnnalsInstance) -> Iterator[None]:
    half = instance.data / "work" / "b" / "half"
    half.mkdir(parents=True)
    yield
    shutil.rmtree(half)


@contextmanager
def half_a_blob(instance: AnnalsInstance) -> Iterator[None]:
    half = instance.data / "blobs" / ".partial" / ("0" * 32)
    half.write_bytes(b"half")
    yield
    half.unlink(missing_ok=True)


@contextmanager
def uncounted_usage(instance: AnnalsInstance) -> Iterator[None]:
    with changed(
        instance,
        "UPDATE usage_cells SET executions = executions - 1 WHERE cube = 'total'",
        "UPDATE usage_cells SET executions = executions + 1 WHERE cube = 'total'",
    ):
        yield


@contextmanager
def another_row(instance: AnnalsInstance) -> Iterator[None]:
    with changed(
        instance, "UPDATE functions SET name = 'other' || name", "UPDATE functions SET name = substr(name, 6)"
    ):
        yield


@contextmanager
def another_event(instance: AnnalsInstance) -> Iterator[None]:
    """Append a blank to the JSON of an event, which no projection notices."""
    with changed(
        instance,
        "UPDATE events SET state = state || ' ' WHERE topic = 'project.created'",
        "UPDATE events SET state = substr(state, 1, length(state) - 1) WHERE topic = 'project.created'",
    ):
        yield


FAULTS = (
    (leaked_instance, "leaked"),
    (half_a_build, "work/b/half"),
    (half_a_blob, "0000"),
    (uncounted_usage, 'of="usage"'),
    (another_row, '"same": *false'),
    (another_event, "altered"),
)
"""Faults, and a part of the message that reports each of them."""

Planted = Callable[[AnnalsInstance], AbstractContextManager[None]]


@pytest.mark.parametrize(("planted", "message"), FAULTS)
def test_planted_fault_is_found(
    annals_instance: AnnalsInstance, planted: Planted, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = Client(annals_instance.endpoint, annals_instance.headers)
    if client.http.get("/functions/planted").status_code == 404:
        client.function("planted", HELLO)
    client.execute("planted")
    invariants.check_idle(annals_instance)
    monkeypatch.setattr(invariants, "GRACE_SECONDS", -9)

    with planted(annals_instance), pytest.raises(AssertionError, match=message):
        invariants.check_all(annals_instance)


def test_drift_names_each_gauge_that_is_not_zero() -> None:
    lines = [f'annals_conservation_drift{{of="{kind}"}} {drift}' for kind, drift in (("a", 0), ("b", 10), ("c", 1))]

    assert invariants.drifting("\n".join([*lines, "annals_open 1"])) == lines[1:]
    with pytest.raises(AssertionError, match="lack the gauges"):
        invariants.drifting("annals_open 1")

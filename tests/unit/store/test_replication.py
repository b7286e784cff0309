"""The notices of Postgres that mean that a commit did not wait for its standby."""

from types import SimpleNamespace
from typing import Any

import pytest

from annals.store.postgres.connection import is_canceled_wait

CANCELED = {
    "severity_nonlocalized": "WARNING",
    "sqlstate": "01000",
    "source_file": "syncrep.c",
    "source_function": "SyncRepWaitForLSN",
    "message_primary": "canceling wait for synchronous replication due to user request",
}


def notice(**changed: str | None) -> Any:
    return SimpleNamespace(**{**CANCELED, **changed})


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"sqlstate": "57P01"},
        {"severity": "WARNUNG", "message_primary": "Warten auf synchrone Replikation wird abgebrochen"},
        {"source_function": None, "source_file": None},
        {"source_function": None, "source_file": None, "sqlstate": "57P01"},
        {"source_function": None, "source_file": "../src/backend/replication/syncrep.c"},
    ],
)
def test_canceled_wait_is_recognised_in_every_language(changed: dict[str, str | None]) -> None:
    assert is_canceled_wait(notice(**changed))


@pytest.mark.parametrize(
    "changed",
    [
        {"severity_nonlocalized": "NOTICE"},
        {"source_function": "exec_stmt_raise", "source_file": "pl_exec.c"},
        {"source_function": "BeginTransactionBlock", "source_file": "xact.c", "sqlstate": "25001"},
        {"source_function": None, "source_file": None, "sqlstate": "25P01"},
    ],
)
def test_other_notices_are_no_canceled_wait(changed: dict[str, str | None]) -> None:
    assert not is_canceled_wait(notice(**changed))

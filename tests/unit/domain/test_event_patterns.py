"""Event patterns (http-api.md 10.4)."""

import pytest

from annals.domain.event_names import is_event_pattern, is_function_event


@pytest.mark.parametrize(
    "pattern",
    [
        *("users.*", "users.*.create", "users.u1.create", "users.create", "users.*.update.email", "users.*.sessions.*"),
        *(
            "users.*.sessions.s.create",
            "buckets.*.files.*.create",
            "databases.d.tables.t.rows.r",
            "teams.*.update.prefs",
        ),
        *("databases.d.tables.t.rows.*", "teams.*.memberships.*.update.status", "users.*.verification.*.create"),
    ],
)
def test_patterns_of_the_tree_pass(pattern: str) -> None:
    assert is_event_pattern(pattern)


@pytest.mark.parametrize(
    "pattern",
    [
        *(
            "",
            "users",
            "nope.*",
            "users.*.nope",
            "users.*.create.email",
            "users.*.update.nope",
            "users..create",
            "users.",
        ),
        *("users.*.sessions", "buckets.*.files.*.nope", "users.*.update.email.x", "a.b.c.d.e.f.g.h", ".users.*"),
    ],
)
def test_other_patterns_are_refused(pattern: str) -> None:
    assert not is_event_pattern(pattern)


def test_functions_are_not_triggered_by_functions() -> None:
    assert is_function_event("functions.*.create")
    assert not is_function_event("users.*.create")

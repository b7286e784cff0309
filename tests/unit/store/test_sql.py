"""Files of named queries."""

import pytest

from annals.store.postgres.sql import SqlFileError, parse


def test_queries_are_found_by_name_with_their_purpose() -> None:
    queries = parse("q.sql", "-- name: one\n-- The first.\nSELECT 1;\n\n-- name: two\n-- The second.\nSELECT\n  2;\n")

    assert dict(queries) == {"one": "SELECT 1", "two": "SELECT\n  2"}
    assert queries.purposes["two"] == "The second."


def test_unknown_name_says_which_there_are() -> None:
    with pytest.raises(KeyError, match="no query 'three'; it has one"):
        parse("q.sql", "-- name: one\n-- The first.\nSELECT 1")["three"]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("-- name: one\nSELECT 1", "purpose"),
        ("-- name: Not A Name\n-- x\nSELECT 1", "purpose"),
        ("SELECT 0;\n-- name: one\n-- x\nSELECT 1", "begins with"),
        ("", "begins with"),
        ("-- name: one\n-- x\nSELECT 1\n-- name: one\n-- x\nSELECT 2", "twice"),
        ("-- name: one\n-- x\n;", "empty"),
    ],
)
def test_malformed_file_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(SqlFileError, match=complaint):
        parse("q.sql", text)

"""Pages of rows in memory are equal to the pages of Postgres."""

from typing import Any

import msgspec
import pytest

from annals.app.errors import CursorNotFound, QueryInvalid
from annals.app.queries.memory import paged
from annals.app.queries.page import parse_page
from annals.app.queries.schema import Attribute, Schema, text

_NUMBER = Attribute("sequence", "n")
SCHEMA = Schema("", "$id", "Row", {"$id": text("$id"), "$sequence": _NUMBER, "n": _NUMBER, "word": text("word")})
ROWS = [{"$id": str(n), "$sequence": n, "n": n, "word": word} for n, word in enumerate(("b", "a", None, "ab", "a"))]


def ids(*queries: tuple[Any, ...]) -> list[str]:
    encoded = [
        msgspec.json.encode({"method": method, "attribute": attribute, "values": list(values)}).decode()
        for method, attribute, *values in queries
    ]
    page = parse_page(encoded, SCHEMA)
    return [row["$id"] for row in paged(ROWS, page, noun="Row").rows]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        (("equal", "word", "a", "b"), ["0", "1", "4"]),
        (("notEqual", "word", "a"), ["0", "3"]),
        (("greaterThan", "n", 2), ["3", "4"]),
        (("between", "n", 1, 2), ["1", "2"]),
        (("notBetween", "n", 1, 3), ["0", "4"]),
        (("isNull", "word"), ["2"]),
        (("isNotNull", "word"), ["0", "1", "3", "4"]),
        (("startsWith", "word", "a"), ["1", "3", "4"]),
        (("notStartsWith", "word", "a"), ["0"]),
        (("notEndsWith", "word", "b"), ["1", "4"]),
        (("contains", "word", "b"), ["0", "3"]),
        (("notContains", "word", "b"), ["1", "4"]),
        (("containsAll", "word", "a", "b"), ["3"]),
    ],
)
def test_filters_match_the_values_of_rows(query: tuple[Any, ...], found: list[str]) -> None:
    assert ids(query) == found


def test_and_and_or_join_filters() -> None:
    either = (
        {"method": "equal", "attribute": "n", "values": [0]},
        {"method": "equal", "attribute": "word", "values": ["a"]},
    )
    assert ids(("or", "", *either)) == ["0", "1", "4"]
    assert ids(("and", "", *either)) == []


def test_orders_cursors_limits_and_offsets_select_the_page() -> None:
    some = ("isNotNull", "word")
    assert ids(some, ("orderAsc", "word")) == ["1", "4", "3", "0"]
    assert ids(some, ("orderDesc", "")) == ["4", "3", "1", "0"]
    assert ids(("cursorAfter", "", "1"), ("limit", "", 2)) == ["2", "3"]
    assert ids(("cursorBefore", "", "3"), ("limit", "", 2)) == ["1", "2"]
    assert ids(("offset", "", 3)) == ["3", "4"]


def test_total_counts_all_matching_rows() -> None:
    page = parse_page(['{"method":"limit","values":[1]}', '{"method":"cursorAfter","values":["0"]}'], SCHEMA)
    assert paged(ROWS, page, noun="Row").total == 5


def test_unsupported_queries_are_refused() -> None:
    with pytest.raises(CursorNotFound):
        ids(("cursorAfter", "", "nine"))
    with pytest.raises(QueryInvalid):
        ids(("search", "word", "a"))
    with pytest.raises(QueryInvalid):
        ids(("orderRandom", ""))

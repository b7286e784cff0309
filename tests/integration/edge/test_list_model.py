"""Random queries compared with a plain reading of the same rows (http-api.md 5)."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import given as property_of
from hypothesis import strategies as st

from tests.integration.edge import given
from tests.integration.edge.client import Client, dumps

PATH = "/v1/functions"


ATTRIBUTES: dict[str, tuple[Callable[[dict[str, Any]], Any], st.SearchStrategy[Any]]] = {
    "name": (lambda row: row["name"], st.sampled_from(["", "a", "b", "é", "%"])),
    "timeout": (lambda row: row["timeout"], st.integers(9, 12)),
    "enabled": (lambda row: row["enabled"], st.booleans()),
}


HOLDS: dict[str, Callable[[Any, list[Any]], bool]] = {
    "equal": lambda value, wanted: value in wanted,
    "notEqual": lambda value, wanted: value != wanted[0],
    "lessThan": lambda value, wanted: value < wanted[0],
    "greaterThanEqual": lambda value, wanted: value >= wanted[0],
    "between": lambda value, wanted: wanted[0] <= value <= wanted[1],
}


COUNTS = {"equal": (1, 3), "between": (2, 2)}


@st.composite
def conditions(draw: st.DrawFn) -> tuple[dict[str, Any], Callable[[dict[str, Any]], bool]]:
    attribute = draw(st.sampled_from(sorted(ATTRIBUTES)))
    method = draw(st.sampled_from(sorted(HOLDS)))
    read, values = ATTRIBUTES[attribute]
    least, most = COUNTS.get(method, (1, 1))
    wanted = draw(st.lists(values, min_size=least, max_size=most))
    return given.query(method, attribute, *wanted), lambda row: HOLDS[method](read(row), wanted)


@pytest.fixture
async def many(plain: Client) -> Client:
    for number in range(12):
        name = ["a", "b", "é", "%"][number % 4]
        await given.function(plain, name=name, timeout=9 + number % 3, enabled=number % 2 == 0)
    return plain


async def test_filters_orders_and_pages_agree_with_a_reference_model(many: Client) -> None:
    """A model of the whole: filter, sort and cut, as the contract describes it."""
    rows = (await many.get(PATH, [given.query("limit", None, 100)])).json["functions"]
    examples: list[Any] = []

    @settings(max_examples=60, suppress_health_check=list(HealthCheck), database=None)
    @property_of(
        asked=st.lists(conditions(), max_size=3),
        joint=st.sampled_from(["and", "or", ""]),
        order=st.sampled_from(["name", "timeout", "enabled", "$createdAt", ""]),
        descends=st.booleans(),
        limit=st.integers(1, 5),
        start=st.integers(0, 11),
    )
    def collect(**example: Any) -> None:
        examples.append(example)

    collect()
    for example in examples:
        await _agrees(many, rows, **example)


async def _agrees(
    client: Client,
    rows: list[dict[str, Any]],
    *,
    asked: list[tuple[dict[str, Any], Callable[[dict[str, Any]], bool]]],
    joint: str,
    order: str,
    descends: bool,
    limit: int,
    start: int,
) -> None:
    def holds(row: dict[str, Any]) -> bool:
        found = [condition(row) for _, condition in asked]
        return any(found) if joint == "or" and len(asked) > 1 else all(found)

    queries = [text for text, _ in asked]
    if joint and len(queries) > 1:
        queries = [{"method": joint, "values": queries}]
    inserted = list(enumerate(rows))
    tie = -1 if descends and order in {"$createdAt", ""} else 1
    inserted.sort(key=lambda pair: pair[0] * tie)
    if order:
        inserted.sort(key=lambda pair: _sortable(pair[1][order]), reverse=descends)
    ordered = [row for _, row in inserted]
    cursor = ordered[start]
    after = [row["$id"] for row in ordered[start + 1 :] if holds(row)][:limit]
    before = [row["$id"] for row in ordered[:start] if holds(row)][-limit:]
    page = [given.query("orderDesc" if descends else "orderAsc", order), given.query("limit", None, limit)]
    total = sum(map(holds, rows))
    for method, wanted in (("cursorAfter", after), ("cursorBefore", before)):
        reply = await client.get(PATH, [*queries, *page, given.query(method, None, cursor["$id"])])
        assert given.ids(reply, "functions") == wanted, (dumps(queries), method, order, descends)
        assert reply.json["total"] == total


def _sortable(value: Any) -> Any:
    return value.encode() if isinstance(value, str) else value

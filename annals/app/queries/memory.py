"""Pages rows in memory by the same queries as lists in Postgres."""

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from annals.app.errors import CursorNotFound, QueryInvalid
from annals.app.queries.page import PAGE, Page, QueryFilter
from annals.app.queries.reading import PageRows
from annals.app.queries.statements import MOST_COUNTED
from annals.store.postgres.database import Row

_COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
    "notEqual": operator.ne,
    "lessThan": operator.lt,
    "lessThanEqual": operator.le,
    "greaterThan": operator.gt,
    "greaterThanEqual": operator.ge,
    "startsWith": str.startswith,
    "endsWith": str.endswith,
}


def paged(rows: Sequence[Row], page: Page, *, noun: str) -> PageRows:
    """Return the rows that a page asks for. `rows` are in insertion order: values by attribute, dates as datetimes.

    Raises CursorNotFound, and QueryInvalid for queries that need a full-text index or a database.
    """
    if page.random:
        raise QueryInvalid("These rows have no random order.")
    found = [row for row in rows if all(_fits(condition, row) for condition in page.filters)]
    orders = page.orders or [("", False)]
    for name, descends in reversed(orders):
        found.sort(key=lambda row: row[name or "$sequence"], reverse=descends)
    total = min(len(found), MOST_COUNTED)
    if page.cursor:
        found = _beyond(found, page, rows, noun)
    start = page.offset or 0
    limit = page.limit if page.limit is not None else PAGE
    if page.backwards:
        end = len(found) - start
        return PageRows(found[max(0, end - limit) : max(0, end)], total)
    return PageRows(found[start : start + limit], total)


def _beyond(found: list[Row], page: Page, rows: Sequence[Row], noun: str) -> list[Row]:
    indexes = [index for index, row in enumerate(found) if row["$id"] == page.cursor]
    if not indexes:
        if any(row["$id"] == page.cursor for row in rows):
            raise QueryInvalid("The cursor's row does not match the queries.")
        raise CursorNotFound(f"{noun} '{page.cursor}' for the 'cursor' value not found.")
    return found[: indexes[0]] if page.backwards else found[indexes[0] + 1 :]


def _fits(condition: QueryFilter, row: Row) -> bool:
    if condition.parts:
        judge = all if condition.method == "and" else any
        return judge(_fits(part, row) for part in condition.parts)
    method, value, wanted = condition.method, row[condition.attribute], condition.values
    if method in {"search", "notSearch"}:
        raise QueryInvalid(f'Searching by attribute "{condition.attribute}" requires a full-text index.')
    if method in {"isNull", "isNotNull"}:
        return (value is None) == (method == "isNull")
    if value is None:
        return False
    if method == "equal":
        return value in wanted
    if (compare := _COMPARE.get(method)) is not None:
        return compare(value, wanted[0])
    if method in {"notStartsWith", "notEndsWith"}:
        return not _COMPARE[method[3:4].lower() + method[4:]](value, wanted[0])
    if method in {"between", "notBetween"}:
        within: bool = wanted[0] <= value <= wanted[1]
        return within == (method == "between")
    contained = (all if method == "containsAll" else any)(part in value for part in wanted)
    return contained != (method == "notContains")

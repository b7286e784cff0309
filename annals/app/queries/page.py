"""A page: the parsed queries of a list, validated against the list's schema."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from annals.app.parameters import Boolean, Parameters, Text, optional
from annals.app.parameters.kinds import Uid, ValidationError, as_integer, as_list
from annals.app.parameters.table import Parameter
from annals.app.queries.grammar import (
    COMPARE_NONE,
    COMPARE_ONE,
    COMPARE_TWO,
    CONTAIN,
    CURSORS,
    FILTERS,
    LOGIC,
    Query,
    read,
)
from annals.app.queries.schema import Schema, fit

PAGE = 25
_MOST_QUERIES = 100
_MOST_CHARACTERS = 4096
_MOST_VALUES = 500
_MOST_TOGETHER = 1000
"""Most conditions and values of one list: each is parsed once and compared with every row."""
_MOST_ROWS = 2**62
_TEXT_ONLY = CONTAIN | {"startsWith", "notStartsWith", "endsWith", "notEndsWith"}


class QueryFilter(msgspec.Struct, frozen=True):
    """One condition. `and` and `or` have no `attribute`; they join their `parts`."""

    method: str
    attribute: str = ""
    values: tuple[Any, ...] = ()
    parts: tuple["QueryFilter", ...] = ()

    @property
    def weight(self) -> int:
        """The number of conditions and values in this condition."""
        return 1 + len(self.values) + sum(part.weight for part in self.parts)

    def find(self, methods: frozenset[str]) -> "QueryFilter | None":
        """Return the first condition in this one that uses one of the methods, or None."""
        if self.method in methods:
            return self
        return next((found for part in self.parts if (found := part.find(methods))), None)


class Page(msgspec.Struct):
    """The parsed queries of a list. `limit` and `offset` are None if no query sets them."""

    filters: list[QueryFilter] = []
    orders: list[tuple[str, bool]] = []
    """Attribute, and whether it descends. The empty attribute stands for insertion order."""
    random: bool = False
    limit: int | None = None
    offset: int | None = None
    cursor: str = ""
    backwards: bool = False
    select: frozenset[str] | None = None


class ListQueries:
    """The kind of a list's `queries`, returned as a Page."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema

    def parse(self, value: Any) -> Page:
        return parse_page(value, self.schema)

    def describe(self) -> str:
        return "Queries must be an array"


def list_parameters(schema: Schema, *, has_search: bool = False, **path: Parameter) -> Parameters:
    """Return the parameters of a list: those of its path, `queries`, `search` if it has one, and `total`."""
    searched = {"search": optional(Text(256))} if has_search else {}
    total = optional(Boolean(loose=True), True)
    return Parameters(**path, queries=optional(ListQueries(schema), Page()), **searched, total=total)


def parse_page(value: object, schema: Schema) -> Page:
    """Return the page that a list's queries describe.

    Raises ValidationError with the text that follows ``Invalid `queries` param: ``.
    """
    queries = as_list(value)
    if queries is None:
        raise ValidationError("Queries must be an array")
    if len(queries) > _MOST_QUERIES:
        raise ValidationError(f"No more than {_MOST_QUERIES} queries are allowed")
    page = Page()
    weight = filters = 0
    for text in queries:
        if isinstance(text, str) and len(text) > _MOST_CHARACTERS:
            raise ValidationError(f"Invalid query: It is longer than {_MOST_CHARACTERS} characters")
        try:
            query = read(text)
        except ValidationError as invalid:
            raise ValidationError(f"Invalid query: {invalid}") from None
        _add(page, query, schema)
        weight += page.filters[-1].weight if len(page.filters) > filters else 0
        filters = len(page.filters)
        if weight > _MOST_TOGETHER:
            raise ValidationError(
                f"Invalid query: Queries hold no more than {_MOST_TOGETHER:,} conditions and values together"
            )
    return page


def _add(page: Page, query: Query, schema: Schema) -> None:
    method = query.method
    step: Callable[[Page, Query, Schema], None] | None
    if method in FILTERS or method in LOGIC:
        step = _filter
    elif method in CURSORS:
        step = _cursor
    else:
        step = _STEPS.get(method)
    if step is None or (method == "select" and not schema.columns):
        raise ValidationError(f"Invalid query method: {method}")
    try:
        step(page, query, schema)
    except ValidationError as invalid:
        raise ValidationError(f"Invalid query: {invalid}") from None


def _filter(page: Page, query: Query, schema: Schema) -> None:
    page.filters.append(_condition(query, schema))


def _condition(query: Query, schema: Schema) -> QueryFilter:
    method = query.method
    if method in LOGIC:
        if len(query.values) < 2:
            raise ValidationError(f"{_title(method)} queries require at least two queries")
        if not all(part.method in FILTERS or part.method in LOGIC for part in query.values):
            raise ValidationError(f"{_title(method)} queries can only contain filter queries")
        return QueryFilter(method, parts=tuple(_condition(part, schema) for part in query.values))
    attribute = schema.attributes.get(query.attribute)
    if attribute is None:
        raise ValidationError(f"Attribute not found in schema: {query.attribute}")
    if method in _TEXT_ONLY and attribute.type != "text":
        raise ValidationError(f'Cannot query {method} on attribute "{query.attribute}" because it is not a string')
    _count(method, query.values)
    if method in COMPARE_NONE:
        return QueryFilter(method, query.attribute)
    try:
        return QueryFilter(method, query.attribute, tuple(fit(attribute, value) for value in query.values))
    except ValidationError:
        raise ValidationError(f'Query value is invalid for attribute "{query.attribute}"') from None


def _count(method: str, values: Sequence[object]) -> None:
    if method in COMPARE_ONE and len(values) != 1:
        raise ValidationError(f"{_title(method)} queries require exactly one value.")
    if method in COMPARE_TWO and len(values) != 2:
        raise ValidationError(f"{_title(method)} queries require exactly two values.")
    if method in CONTAIN or method == "equal":
        if not values:
            raise ValidationError(f"{_title(method)} queries require at least one value.")
        if len(values) > _MOST_VALUES:
            raise ValidationError(f"{_title(method)} queries take no more than {_MOST_VALUES} values.")


def _order(page: Page, query: Query, schema: Schema) -> None:
    if query.attribute and query.attribute not in schema.attributes:
        raise ValidationError(f"Attribute not found in schema: {query.attribute}")
    page.orders.append((query.attribute, query.method == "orderDesc"))


def _random(page: Page, _query: Query, _schema: Schema) -> None:
    page.random = True


def _limit(page: Page, query: Query, _schema: Schema) -> None:
    number = as_integer(query.values[0]) if query.values else None
    if number is None or number < 1:
        raise ValidationError("Invalid limit: Value must be a valid range between 1 and 9,223,372,036,854,775,807")
    if page.limit is None:
        page.limit = min(number, _MOST_ROWS)


def _offset(page: Page, query: Query, _schema: Schema) -> None:
    number = as_integer(query.values[0]) if query.values else None
    if number is None or number < 0:
        raise ValidationError("Invalid offset: Value must be a valid range between 0 and 9,223,372,036,854,775,807")
    if page.offset is None:
        page.offset = min(number, _MOST_ROWS)


def _cursor(page: Page, query: Query, _schema: Schema) -> None:
    try:
        row = Uid().parse(query.values[0] if query.values else None)
    except ValidationError as invalid:
        raise ValidationError(f"Invalid cursor: {invalid}") from None
    if not page.cursor:
        page.cursor, page.backwards = row, query.method == "cursorBefore"


def _select(page: Page, query: Query, schema: Schema) -> None:
    names = query.values
    if not names:
        raise ValidationError("No attributes selected")
    for name in names:
        if not isinstance(name, str) or (name != "*" and name not in schema.columns):
            raise ValidationError(f"Attribute not found in schema: {name}")
    if len(set(names)) != len(names):
        raise ValidationError("Duplicate selections are not allowed")
    page.select = (page.select or frozenset()) | (schema.columns if "*" in names else frozenset(names))


_STEPS: dict[str, Callable[[Page, Query, Schema], None]] = {
    "orderAsc": _order,
    "orderDesc": _order,
    "orderRandom": _random,
    "limit": _limit,
    "offset": _offset,
    "select": _select,
}


def _title(method: str) -> str:
    return method[:1].upper() + method[1:]

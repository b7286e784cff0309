"""Turns a page into SQL: one statement for the rows, one for the cursor's row, one for the total."""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from annals.app.errors import QueryInvalid
from annals.app.queries.page import PAGE, Page, QueryFilter
from annals.app.queries.schema import Attribute, Schema

MOST_COUNTED = 5000
_SEARCHES = frozenset({"search", "notSearch"})
_COMPARE = {
    "notEqual": "<>",
    "lessThan": "<",
    "lessThanEqual": "<=",
    "greaterThan": ">",
    "greaterThanEqual": ">=",
}


class Sql(NamedTuple):
    """A piece of SQL with its parameters, in order."""

    text: str
    params: tuple[Any, ...] = ()


class Listing(NamedTuple):
    """The statements of one page. If `backwards` is set, the rows come in reverse order."""

    rows: Sql
    total: Sql
    cursor: Sql | None
    backwards: bool


def listing(
    page: Page,
    schema: Schema,
    scope: Sql,
    *,
    columns: str,
    project: str,
    limit: int = PAGE,
    cursor_scope: Sql | None = None,
) -> Listing:
    """Return the statements of a page within `scope`. The cursor is looked up in `cursor_scope`, or in the whole
    project.

    Raises QueryInvalid for queries that no index can answer. Each statement reads the columns of one table only.
    """
    where = [scope, *(_filter(condition, schema) for condition in page.filters)]
    total = _total(schema, where)
    orders = _orders(page, schema)
    cursor = None
    if page.cursor:
        if page.random:
            raise QueryInvalid("A cursor has no meaning in a random order.")
        cursor = _cursor(page, schema, orders, cursor_scope or Sql("project_id = %s", (project,)))
        where.append(_behind(orders, cursor, page.backwards))
    direction = ", ".join(_direction(order, page.backwards) for order in orders)
    conditions, params = all_of(where)
    tail: list[Any] = [page.limit if page.limit is not None else limit]
    text = f"SELECT {columns} FROM {schema.table} WHERE {conditions} ORDER BY {direction} LIMIT %s"  # noqa: S608
    if page.offset:
        text += " OFFSET %s"
        tail.append(page.offset)
    probe = None if cursor is None else Sql(_probe(cursor.text, orders), cursor.params)
    return Listing(Sql(text, (*params, *tail)), total, probe, page.backwards)


def _total(schema: Schema, where: list[Sql]) -> Sql:
    conditions, params = all_of(where)
    counted = f"SELECT FROM {schema.table} WHERE {conditions} LIMIT {MOST_COUNTED}"
    return Sql(f"SELECT count(*) AS value FROM ({counted}) AS counted", params)  # noqa: S608


def all_of(conditions: Sequence[Sql]) -> Sql:
    """Return the condition that all of these are met."""
    return Sql(
        " AND ".join(condition.text for condition in conditions),
        tuple(value for condition in conditions for value in condition.params),
    )


class _Order(NamedTuple):
    expression: str
    descends: bool
    nullable: bool = False


def _orders(page: Page, schema: Schema) -> list[_Order]:
    """Return the sort order of the rows. Insertion order breaks ties."""
    if page.random:
        return [_Order("random()", False)]
    orders: list[_Order] = []
    tie = False
    for name, descends in page.orders:
        if name in {"", "$sequence"}:
            return [*orders, _Order(schema.order, descends)]
        attribute = schema.attributes[name]
        orders.append(_Order(_sorted(attribute), descends, attribute.nullable))
        tie = descends if name in {"$createdAt", "$updatedAt"} else tie
    return [*orders, _Order(schema.order, tie)]


def _sorted(attribute: Attribute) -> str:
    return f'{attribute.column} COLLATE "C"' if attribute.type == "text" else attribute.column


def _direction(order: _Order, backwards: bool) -> str:
    """Return an ORDER BY term. Nulls are smaller than all values, so that a list read backwards is the reversed list.
    No index has that order."""
    falls = order.descends != backwards
    if not order.nullable:
        return f"{order.expression} {'DESC' if falls else 'ASC'}"
    return f"{order.expression} {'DESC NULLS LAST' if falls else 'ASC NULLS FIRST'}"


def _cursor(page: Page, schema: Schema, orders: list[_Order], scope: Sql) -> Sql:
    """Select the values of the cursor's row, from which the page continues."""
    names = ", ".join(f"{order.expression} AS c{number}" for number, order in enumerate(orders))
    text = f"SELECT {names} FROM {schema.table} WHERE {scope.text} AND {schema.id_column} = %s LIMIT 1"  # noqa: S608
    return Sql(text, (*scope.params, page.cursor))


def _probe(cursor: str, orders: list[_Order]) -> str:
    """Select whether the cursor's row has a null in a column of the order. No row comes back if the cursor's row is
    missing."""
    nulls = " OR ".join(f"c{number} IS NULL" for number in range(len(orders)))
    return f"SELECT {nulls} AS unordered FROM ({cursor}) AS cursor"  # noqa: S608


def _behind(orders: list[_Order], cursor: Sql, backwards: bool) -> Sql:
    """Return the condition for rows after the cursor's row, compared column by column. A single column can use its
    index."""
    if len(orders) == 1:
        beyond = "<" if orders[0].descends != backwards else ">"
        return Sql(f"{orders[0].expression} {beyond} (SELECT c0 FROM ({cursor.text}) AS cursor)", cursor.params)  # noqa: S608
    steps = []
    for number, order in enumerate(orders):
        falling = order.descends != backwards
        equal = [f"{orders[before].expression} = cursor.c{before}" for before in range(number)]
        beyond = f"{order.expression} {'<' if falling else '>'} cursor.c{number}"
        if falling and order.nullable:
            beyond = f"({beyond} OR {order.expression} IS NULL)"
        steps.append(" AND ".join([*equal, beyond]))
    behind = " OR ".join(f"({step})" for step in steps)
    return Sql(f"EXISTS (SELECT FROM ({cursor.text}) AS cursor WHERE {behind})", cursor.params)


def _filter(condition: QueryFilter, schema: Schema) -> Sql:
    if condition.parts:
        parts = [_filter(part, schema) for part in condition.parts]
        joined = f" {condition.method.upper()} ".join(part.text for part in parts)
        return Sql(f"({joined})", tuple(value for part in parts for value in part.params))
    if condition.method in _SEARCHES:
        raise QueryInvalid(f'Searching by attribute "{condition.attribute}" requires a full-text index.')
    return _compare(condition, schema.attributes[condition.attribute])


def _compare(condition: QueryFilter, attribute: Attribute) -> Sql:
    method, values, column = condition.method, condition.values, attribute.column
    if method == "equal":
        return Sql(f"{column} = %s", values) if len(values) == 1 else Sql(f"{column} = ANY(%s)", (list(values),))
    if operator := _COMPARE.get(method):
        return Sql(f"{_sorted(attribute)} {operator} %s", values)
    if method in {"between", "notBetween"}:
        return Sql(f"{_sorted(attribute)} {'NOT ' * (method == 'notBetween')}BETWEEN %s AND %s", values)
    if method in {"isNull", "isNotNull"}:
        return Sql(f"{column} IS {'NOT ' * (method == 'isNotNull')}NULL")
    if method in {"startsWith", "notStartsWith"}:
        return Sql(f"{'NOT ' * (method == 'notStartsWith')}starts_with({column}, %s)", values)
    if method in {"endsWith", "notEndsWith"}:
        sign = "<>" if method == "notEndsWith" else "="
        return Sql(f"right({column}, length(%s::text)) {sign} %s::text", values * 2)
    joint = " AND " if method == "containsAll" else " OR "
    contained = joint.join([f"strpos({column}, %s) > 0"] * len(values))
    return Sql(f"{'NOT ' * (method == 'notContains')}({contained})", values)


_TERM = re.compile(r'"([^"]*)"|([^"\s]+)')
_SEPARATORS = r"[\s!-/:-@\[-^`{-~]+"
"""The separators of words: white space and ASCII punctuation except the underscore, the same in Python and in Postgres.
"""


def search(text: str, columns: str) -> Sql:
    """Return a condition on the words of `columns`, an SQL text expression. A text without words matches nothing."""
    phrases: list[str] = []
    for quoted, word in _TERM.findall(text.lower()):
        words = [part for part in re.split(_SEPARATORS, quoted or word) if part]
        phrases += [" ".join(words)] if quoted else words
    wanted = [f" {phrase} " for phrase in dict.fromkeys(phrases) if phrase.strip()]
    if not wanted:
        return Sql("false")
    words_of = f"' ' || regexp_replace(lower({columns}), '{_SEPARATORS}', ' ', 'g') || ' '"
    return Sql(f"EXISTS (SELECT FROM unnest(%s::text[]) AS wanted WHERE strpos({words_of}, wanted) > 0)", (wanted,))

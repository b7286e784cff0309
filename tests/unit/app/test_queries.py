"""The query grammar: exact error texts, and the parsed page (http-api.md 5)."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from annals.app.deployments.queries import LIST as DEPLOYMENTS
from annals.app.errors import QueryInvalid
from annals.app.functions.queries import LIST as FUNCTIONS
from annals.app.parameters.kinds import ValidationError
from annals.app.queries.page import Page, parse_page
from annals.app.queries.schema import Schema, parse_date
from annals.app.queries.statements import Sql, listing, search

SCOPE = Sql("project_id = %s", ("p1",))


def dumps(query: Any) -> str:
    return msgspec.json.encode(query).decode()


def query(method: str, attribute: str | None = None, *values: Any) -> str:
    named = {} if attribute is None else {"attribute": attribute}
    return dumps({"method": method, **named, "values": list(values)})


def page(*queries: str, schema: Schema = FUNCTIONS) -> Page:
    return parse_page(list(queries), schema)


def refused(*queries: Any, schema: Schema = FUNCTIONS) -> str:
    with pytest.raises(ValidationError) as invalid:
        parse_page(list(queries), schema)
    return str(invalid.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nope", "Invalid query: Invalid query: Syntax error"),
        ('equal("name", ["a"])', "Invalid query: Invalid query: Syntax error"),
        ('"text"', "Invalid query: Invalid query. Must be an array, got string"),
        ("5", "Invalid query: Invalid query. Must be an array, got integer"),
        ("5.5", "Invalid query: Invalid query. Must be an array, got double"),
        ("true", "Invalid query: Invalid query. Must be an array, got boolean"),
        ("null", "Invalid query: Invalid query. Must be an array, got NULL"),
        ("[1]", "Invalid query: Invalid query method: "),
        ("{}", "Invalid query: Invalid query method: "),
        ('{"method":"nope"}', "Invalid query: Invalid query method: nope"),
        ('{"method":5}', "Invalid query: Invalid query method. Must be a string, got integer"),
        (
            '{"method":"equal","attribute":[]}',
            "Invalid query: Invalid query attribute. Must be a string, got array",
        ),
        (
            '{"method":"equal","attribute":"name","values":"a"}',
            "Invalid query: Invalid query values. Must be an array, got string",
        ),
        ('{"method":"select","values":["name"]}', "Invalid query method: select"),
        ('{"method":"regex","attribute":"name","values":["a"]}', "Invalid query: Invalid query method: regex"),
        ('{"method":"elemMatch","attribute":"name"}', "Invalid query: Invalid query method: elemMatch"),
        ('{"method":"crosses","attribute":"name"}', "Invalid query: Invalid query method: crosses"),
        (query("equal", "nope", 1), "Invalid query: Attribute not found in schema: nope"),
        (query("orderAsc", "execute"), "Invalid query: Attribute not found in schema: execute"),
        (query("equal", "enabled", "true"), 'Invalid query: Query value is invalid for attribute "enabled"'),
        (query("equal", "timeout", "15"), 'Invalid query: Query value is invalid for attribute "timeout"'),
        (query("equal", "timeout", 15.5), 'Invalid query: Query value is invalid for attribute "timeout"'),
        (query("equal", "timeout", 2**31), 'Invalid query: Query value is invalid for attribute "timeout"'),
        (query("equal", "name", 5), 'Invalid query: Query value is invalid for attribute "name"'),
        (
            query("greaterThan", "$createdAt", "noon"),
            'Invalid query: Query value is invalid for attribute "$createdAt"',
        ),
        (query("equal", "name"), "Invalid query: Equal queries require at least one value."),
        (query("lessThan", "name", "a", "b"), "Invalid query: LessThan queries require exactly one value."),
        (query("between", "timeout", 1), "Invalid query: Between queries require exactly two values."),
        (query("limit", None, 0), "Invalid query: Invalid limit: Value must be a valid range between 1 and"),
        (query("limit"), "Invalid query: Invalid limit: Value must be a valid range between 1 and"),
        (query("offset", None, -1), "Invalid query: Invalid offset: Value must be a valid range between 0 and"),
        (query("cursorAfter", None, "_x"), "Invalid query: Invalid cursor: UID must contain at most 36 chars."),
        (query("cursorBefore"), "Invalid query: Invalid cursor: UID must contain at most 36 chars."),
        (dumps({"method": "or", "values": [{"method": "isNull", "attribute": "name"}]}), "Invalid query: Or queries"),
        (
            dumps({"method": "and", "values": [{"method": "limit", "values": [1]}] * 2}),
            "Invalid query: And queries can only contain filter queries",
        ),
        (query("contains", "enabled", "a"), 'Invalid query: Cannot query contains on attribute "enabled"'),
        (query("startsWith", "timeout", "1"), 'Invalid query: Cannot query startsWith on attribute "timeout"'),
    ],
)
def test_wrong_query_is_refused_with_its_text(text: str, said: str) -> None:
    assert refused(text).startswith(said)


def test_queries_come_as_an_array_of_strings() -> None:
    for value in ("limit", 5, True):
        with pytest.raises(ValidationError, match="Queries must be an array"):
            parse_page(value, FUNCTIONS)
    assert refused(5) == "Invalid query: Invalid query. Must be a string, got integer"


def test_documented_ceilings_hold() -> None:
    refused(*[query("isNull", "name")] * 101)
    refused(query("equal", "name", "x" * 4096))
    refused(query("equal", "timeout", *[1] * 501))
    assert len(page(query("equal", "timeout", *[1] * 500)).filters[0].values) == 500


@pytest.mark.parametrize(
    "text",
    [
        query("equal", "enabled", True),
        query("equal", "timeout", 15, 15.0),
        query("notEqual", "name", ""),
        query("between", "timeout", 1, 5),
        query("isNull", "scheduleNext"),
        query("greaterThan", "schedulePrevious", "2026-01-01"),
        query("equal", "$sequence", "5"),
        query("equal", "$id", "a"),
        query("orderAsc", ""),
        query("orderRandom"),
        query("limit", None, "5"),
        query("limit", None, 10**30),
        dumps({"method": "or", "values": [{"method": "equal", "attribute": "name", "values": ["a"]}] * 2}),
    ],
)
def test_valid_queries_pass(text: str) -> None:
    page(text)


def test_first_of_several_limits_offsets_and_cursors_counts() -> None:
    asked = page(
        query("limit", None, 1),
        query("limit", None, 2),
        query("offset", None, 3),
        query("offset", None, 4),
        query("cursorAfter", None, "a"),
        query("cursorBefore", None, "b"),
    )

    assert (asked.limit, asked.offset, asked.cursor, asked.backwards) == (1, 3, "a", False)


def test_select_is_for_deployments_and_knows_their_fields() -> None:
    assert page(query("select", None, "status", "buildLogs"), schema=DEPLOYMENTS).select == frozenset(
        {"status", "buildLogs"}
    )
    assert "providerBranch" in (page(query("select", None, "*"), schema=DEPLOYMENTS).select or ())
    for values in ([], ["nope"], ["status", "status"], [5]):
        refused(query("select", None, *values), schema=DEPLOYMENTS)


def test_search_query_needs_an_index() -> None:
    for method in ("search", "notSearch"):
        with pytest.raises(QueryInvalid):
            listing(page(query(method, "name", "x")), FUNCTIONS, SCOPE, columns="*", project="p1")


@pytest.mark.parametrize(
    ("queries", "order"),
    [
        ([], "ORDER BY sequence ASC"),
        ([query("orderDesc", "$createdAt")], "ORDER BY created_at DESC, sequence DESC"),
        ([query("orderDesc", "timeout")], "ORDER BY timeout DESC, sequence ASC"),
        ([query("orderDesc", "")], "ORDER BY sequence DESC"),
        ([query("orderAsc", "name")], 'ORDER BY name COLLATE "C" ASC, sequence ASC'),
        ([query("cursorBefore", None, "x")], "ORDER BY sequence DESC"),
        ([query("orderRandom")], "ORDER BY random()"),
    ],
)
def test_insertion_order_breaks_ties(queries: list[str], order: str) -> None:
    assert order in listing(page(*queries), FUNCTIONS, SCOPE, columns="*", project="p1").rows.text


def test_values_reach_the_database_as_parameters_only() -> None:
    evil = "'; DROP TABLE functions; --"
    for method in ("equal", "contains", "startsWith", "endsWith", "lessThan"):
        statements = listing(page(query(method, "name", evil)), FUNCTIONS, SCOPE, columns="*", project="p1")
        assert evil not in statements.rows.text
        assert evil in statements.rows.params


@pytest.mark.parametrize(
    ("text", "phrases"),
    [
        ("Hello world", [" hello ", " world "]),
        ('"hello world" x', [" hello world ", " x "]),
        ("node-22", [" node ", " 22 "]),
        ("my_fn", [" my_fn "]),
    ],
)
def test_search_matches_words_and_quoted_phrases(text: str, phrases: list[str]) -> None:
    assert search(text, "name").params == (phrases,)


def test_search_without_words_finds_nothing() -> None:
    assert search('"--"', "name").text == "false"


@pytest.mark.parametrize(
    ("text", "iso"), [("2026-01-01", "2026-01-01T00:00:00+00:00"), ("2026-01-01T02:00+02:00", None)]
)
def test_dates_without_an_offset_are_utc(text: str, iso: str | None) -> None:
    moment = parse_date(text)
    assert moment is not None
    assert moment.isoformat() == (iso or "2026-01-01T00:00:00+00:00")


@pytest.mark.parametrize("text", ["noon", "26-01-01", "10000-01-01", "2026-13-01", "", "0001-01-01T00:00+14:00"])
def test_invalid_date_is_none(text: str) -> None:
    assert parse_date(text) is None


SOME_QUERY = st.fixed_dictionaries(
    {},
    optional={
        "method": st.sampled_from(["equal", "and", "or", "limit", "contains", "between", "orderAsc", "select", "x"])
        | st.integers(),
        "attribute": st.sampled_from(["name", "timeout", "enabled", "$createdAt", "nope", ""]) | st.none(),
        "values": st.lists(
            st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(), max_size=4
        )
        | st.text(),
    },
)


@given(queries=st.lists(st.text() | SOME_QUERY.map(dumps), max_size=4))
def test_queries_only_raise_validation_errors(queries: list[str]) -> None:
    try:
        listing(parse_page(queries, FUNCTIONS), FUNCTIONS, SCOPE, columns="*", project="p1")
    except (ValidationError, QueryInvalid) as error:
        assert str(error)  # noqa: PT017

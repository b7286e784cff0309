"""Parameter tables, and the parsing of bodies and query strings (http-api.md 2)."""

from typing import Any
from urllib.parse import urlencode

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from annals.app.edge.operation import Endpoint
from annals.app.parameters import Boolean, IntegerRange, Parameters, Text, ValidationError, optional, required
from annals.app.parameters.body import body_parameters, fold, query_parameters
from annals.domain.errors import ArgumentInvalid
from tests.client import form
from tests.routes import ENDPOINTS

TABLE = Parameters(
    name=required(Text(5)), timeout=optional(IntegerRange(1, 9), 3), tags=optional(Text(2), []), on=optional(Boolean())
)
JSON = "application/json"
WORDS = st.text(st.characters(codec="utf-8", exclude_characters="[]\0"), min_size=1, max_size=8)


def refused(sent: Any) -> str:
    with pytest.raises(ArgumentInvalid) as error:
        TABLE.parse(sent)
    return str(error.value)


def test_missing_parameter_has_its_default() -> None:
    assert TABLE.parse({"name": "a"}) == {"name": "a", "timeout": 3, "tags": [], "on": None}


def test_null_for_an_optional_parameter_counts_as_not_sent() -> None:
    assert TABLE.parse({"name": "a", "timeout": None})["timeout"] == 3


def test_null_for_a_required_parameter_is_validated() -> None:
    text = "Value must be a valid string and at least 1 chars and no longer than 5 chars"

    assert refused({"name": None}) == f"Invalid `name` param: {text}"


@pytest.mark.parametrize("operation", ENDPOINTS, ids=lambda operation: f"{operation.method} {operation.path}")
def test_every_required_parameter_of_every_operation_validates_null(operation: Endpoint) -> None:
    tables = declared if isinstance(declared := operation.declared["parameters"], Parameters) else Parameters()
    for _, parameter in tables.lines:
        if not parameter.is_optional:
            with pytest.raises(ValidationError):
                parameter.kind.parse(None)


def test_first_error_in_declaration_order_is_raised() -> None:
    assert refused({"timeout": 99}) == 'Param "name" is not optional.'
    assert refused({"timeout": 99, "name": "a"}) == (
        "Invalid `timeout` param: Value must be a valid range between 1 and 9"
    )


def test_unknown_parameters_are_ignored() -> None:
    assert "nope" not in TABLE.parse({"name": "a", "nope": 1})


def test_list_default_is_not_shared() -> None:
    TABLE.parse({"name": "a"})["tags"].append("x")

    assert TABLE.parse({"name": "a"})["tags"] == []


@pytest.mark.parametrize(
    "body", [b"", b"{", b'"text"', b"5", b"[1,2]", b"\xff", b"null", b"[" * 100_000, b'{"a":1e999}']
)
def test_json_without_an_object_is_an_empty_set(body: bytes) -> None:
    assert body_parameters(JSON, body) == {}


def test_json_keeps_its_types() -> None:
    assert body_parameters("Application/JSON; charset=utf-8", b'{"a": [1, true, null], "b": "1"}') == {
        "a": [1, True, None],
        "b": "1",
    }


def test_other_content_types_are_parsed_as_forms() -> None:
    for content_type in ("application/x-www-form-urlencoded", "text/plain", ""):
        assert body_parameters(content_type, b"a=1&b%5B%5D=x&b%5B%5D=y") == {"a": "1", "b": ["x", "y"]}


def test_multipart_form_keeps_bytes_that_are_no_text() -> None:
    content_type, body = form({"a": "1", "headers[x]": "y", "body": b"\xff\x00"}, None, "")

    assert body_parameters(content_type, body) == {"a": "1", "headers": {"x": "y"}, "body": b"\xff\x00"}


@pytest.mark.parametrize(
    "content_type", ["multipart/form-data", "multipart/form-data; boundary=", "multipart/x;boundary=é"]
)
def test_form_without_a_boundary_is_an_empty_set(content_type: str) -> None:
    assert body_parameters(content_type, b"--x\r\n\r\n") == {}


@pytest.mark.parametrize(
    ("pairs", "folded"),
    [
        ([("a[]", "1"), ("a[]", "2")], {"a": ["1", "2"]}),
        ([("a[0]", "1"), ("a[1]", "2")], {"a": ["1", "2"]}),
        ([("a[b][c]", "1"), ("a[b][d]", "2")], {"a": {"b": {"c": "1", "d": "2"}}}),
        ([("a[b][]", "1"), ("a[b][]", "2")], {"a": {"b": ["1", "2"]}}),
        ([("a", "1"), ("a", "2")], {"a": "2"}),
        ([("a", "1"), ("a[]", "2")], {"a": ["2"]}),
        ([("a[", "1"), ("[a]", "2"), ("", "3")], {"a[": "1", "[a]": "2"}),
        ([("a[5]", "x"), ("a[]", "y")], {"a": ["x", "y"]}),
    ],
)
def test_brackets_fold_into_lists_and_maps(pairs: list[tuple[str, Any]], folded: dict[str, Any]) -> None:
    assert fold(pairs) == folded


@given(values=st.dictionaries(WORDS, st.lists(st.text(max_size=5), min_size=1, max_size=5), max_size=5))
def test_lists_survive_a_query_string(values: dict[str, list[str]]) -> None:
    query = urlencode([(f"{name}[]", value) for name, items in values.items() for value in items])

    assert query_parameters(query.encode()) == values


@given(values=st.dictionaries(WORDS, st.text(max_size=20), max_size=5))
def test_text_survives_both_kinds_of_forms(values: dict[str, str]) -> None:
    assert body_parameters("application/x-www-form-urlencoded", urlencode(values).encode()) == values
    assert body_parameters(JSON, msgspec.json.encode(values)) == values


@given(body=st.binary(max_size=300), content_type=st.sampled_from([JSON, "multipart/form-data; boundary=x", "", "a/b"]))
def test_any_body_can_be_parsed(body: bytes, content_type: str) -> None:
    assert isinstance(body_parameters(content_type, body), dict)
    assert isinstance(body_parameters(content_type, b"--x\r\n" + body), dict)


def test_too_many_fields_are_an_empty_set() -> None:
    assert query_parameters(b"&".join(b"a[]=1" for _ in range(5000))) == {}

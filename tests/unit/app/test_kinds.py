"""Kinds of parameters: valid values, and the exact error texts of invalid ones (http-api.md 2)."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annals.app.parameters import (
    ArrayList,
    Boolean,
    CustomId,
    IntegerRange,
    Nullable,
    OneOf,
    ParameterKind,
    Text,
    TextOrBytes,
    Uid,
    ValidationError,
)
from annals.app.parameters.special import Cron, Events, ExecutionHeaders, Roles, SpecificationSlug, judge_headers

UID = (
    "UID must contain at most 36 chars. Valid chars are a-z, A-Z, 0-9, and underscore."
    " Can't start with a leading underscore"
)
CUSTOM_ID = (
    "Parameter must contain at most 36 chars. Valid chars are a-z, A-Z, 0-9, period, hyphen, and underscore."
    " Can't start with a special char"
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)
KINDS: list[ParameterKind] = [
    Uid(),
    CustomId(),
    Text(128),
    Text(5, 0),
    TextOrBytes(100),
    Boolean(),
    Boolean(loose=True),
    IntegerRange(1, 900),
    OneOf(("a", "b")),
    OneOf(("a", "B"), strict=False),
    ArrayList(Text(3), 2),
    Nullable(Text(3)),
    Roles(100),
    Events(100),
    Cron(),
    SpecificationSlug(("s-1vcpu-1gb",)),
    ExecutionHeaders(),
]


def refused(kind: ParameterKind, value: Any) -> str:
    with pytest.raises(ValidationError) as invalid:
        kind.parse(value)
    return str(invalid.value)


@pytest.mark.parametrize("value", ["a", "A9", "my.fn_1-A", "x" * 36, "9"])
def test_id_may_hold_letters_digits_dots_underscores_and_hyphens(value: str) -> None:
    assert Uid().parse(value) == value
    assert CustomId().parse(value) == value


@pytest.mark.parametrize(
    "value", ["", "_x", ".x", "-x", "x" * 37, "a b", "é", "a\n", 5, None, ["a"], True, "a/b", "a:b"]
)
def test_invalid_ids_are_refused_with_the_contracts_texts(value: Any) -> None:
    assert refused(Uid(), value) == UID
    assert refused(CustomId(), value) == CUSTOM_ID


def test_unique_is_only_valid_as_a_custom_id() -> None:
    assert CustomId().parse("unique()") == "unique()"
    assert refused(Uid(), "unique()") == UID


@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [
        (Text(128), "", "Value must be a valid string and at least 1 chars and no longer than 128 chars"),
        (Text(128), "x" * 129, "Value must be a valid string and at least 1 chars and no longer than 128 chars"),
        (Text(8192, 0), 5, "Value must be a valid string and no longer than 8192 chars"),
        (Text(8192, 0), "nul\0", "Value must be a valid string and no longer than 8192 chars"),
        (Boolean(), "true", "Value must be a valid boolean"),
        (Boolean(), 1, "Value must be a valid boolean"),
        (Boolean(loose=True), "yes", "Value must be a valid boolean"),
        (Boolean(loose=True), 2, "Value must be a valid boolean"),
        (IntegerRange(1, 900), 901, "Value must be a valid range between 1 and 900"),
        (IntegerRange(0, 36500), -1, "Value must be a valid range between 0 and 36,500"),
        (OneOf(("a", "b", "c")), "A", "Value must be one of (a, b, c)"),
        (ArrayList(Text(3), 2), "abc", "Value must a valid array no longer than 2 items and " + Text(3).describe()),
        (ArrayList(Text(3), 2), ["abcd"], "Value must a valid array no longer than 2 items and " + Text(3).describe()),
        (ArrayList(Text(3), 2), ["a"] * 3, "Value must a valid array no longer than 2 items and " + Text(3).describe()),
        (Nullable(IntegerRange(1, 2)), 3, "Value must be a valid range between 1 and 2 or null"),
        (Cron(), "not a cron", "String must be a valid cron expression"),
        (SpecificationSlug(("a", "b")), "", "Specification must be one of: a, b"),
        (
            Events(100),
            ["nope"],
            "Value must a valid array no longer than 100 items and Event is not valid.",
        ),
        (
            Events(100),
            ["functions.*.create"],
            "Value must a valid array no longer than 100 items and"
            " Triggering a function on a function event is not allowed.",
        ),
    ],
)
def test_error_describes_the_valid_values(kind: ParameterKind, value: Any, text: str) -> None:
    assert refused(kind, value) == text


def test_text_is_counted_in_characters() -> None:
    assert Text(128).parse("ü" * 128) == "ü" * 128


@pytest.mark.parametrize(("value", "number"), [(15, 15), ("15", 15), ("+15", 15), ("0015", 15)])
def test_range_takes_the_text_of_an_integer(value: Any, number: int) -> None:
    assert IntegerRange(1, 900).parse(value) == number


@pytest.mark.parametrize("value", [15.0, "15.0", 15.5, True, "abc", "", " 15", "1e1", "٣", "9" * 30, None])
def test_range_refuses_other_values(value: Any) -> None:
    refused(IntegerRange(0, 900), value)


@pytest.mark.parametrize(("value", "meant"), [("true", True), ("1", True), (1, True), ("false", False), (0, False)])
def test_loose_boolean_accepts_text_and_numbers(value: Any, meant: bool) -> None:
    assert Boolean(loose=True).parse(value) is meant


def test_loose_word_has_the_spelling_of_the_list() -> None:
    assert OneOf(("24h", "dev-tools"), strict=False).parse("DEV-Tools") == "dev-tools"


@pytest.mark.parametrize(
    "role",
    [
        "any",
        "guests",
        "users",
        "users/verified",
        "users/unverified",
        "user:a",
        "user:a/verified",
        "team:t",
        "team:t/owner",
        f"team:t/{'r' * 81}",
        "member:m",
        "label:vip",
    ],
)
def test_roles_of_the_contract_pass(role: str) -> None:
    assert Roles(100).parse([role, role]) == [role, role]


@pytest.mark.parametrize(
    "role",
    [
        *("some-random-string", "*", "role:all", "any:x", "any/verified", "guests:x", "guests/x", "users:x", "users/x"),
        *(
            "user",
            "user:",
            "user:_x",
            "user:a/x",
            "team",
            "team:",
            "team:t/",
            f"team:t/{'r' * 82}",
            "member",
            "member:",
        ),
        *("member:m/x", "label:", "label:v-p", "label:vip/x", f"label:{'v' * 37}", "", "users/", "admin"),
    ],
)
def test_other_roles_are_refused(role: str) -> None:
    refused(Roles(100), [role])


def test_roles_are_a_bounded_list_of_strings() -> None:
    assert refused(Roles(2), ["any"] * 3) == "You can only provide up to 2 roles."
    assert refused(Roles(2), [1]) == "Every role must be of type string."
    assert refused(Roles(2), "any") == "Roles must be an array of strings."


def test_execution_headers_are_an_object_or_its_json_text() -> None:
    assert ExecutionHeaders().parse({"X-Custom": "v", "n": 5}) == {"x-custom": "v", "n": "5"}
    assert ExecutionHeaders().parse('{"a": "b"}') == {"a": "b"}
    assert ExecutionHeaders().parse([]) == ExecutionHeaders().parse("") == {}


@pytest.mark.parametrize("value", [["a"], "nope", "[1]", '"x"', 5, {"a": {"b": 1}}, {"a": "x" * 65_535}, "{" * 2000])
def test_invalid_execution_headers_are_refused(value: Any) -> None:
    refused(ExecutionHeaders(), value)


@pytest.mark.parametrize(
    "headers",
    [
        {f"h{number}": "" for number in range(101)},
        {"a": "x" * 16_384},
        {"-a": ""},
        {"a-": ""},
        {"a b": ""},
        {"": ""},
        {"x-appwrite-key": "v"},
        {"a": "b\r\nc: d"},
        *({"a": f"b{chr(code)}c"} for code in (0, 1, 10, 11, 13, 27, 31, 127)),
    ],
)
def test_header_names_and_sizes_have_errors_of_their_own(headers: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        judge_headers(headers)


def test_headers_within_the_bounds_pass() -> None:
    judge_headers({"a": "x" * 16_381, "b": ""})
    judge_headers({"a": "b\tc", "d": "é\u2028\U0010ffff"})


@given(value=ANYTHING)
def test_kinds_only_raise_validation_errors(value: Any) -> None:
    for kind in KINDS:
        try:
            kind.parse(value)
        except ValidationError as invalid:
            assert str(invalid)  # noqa: PT017

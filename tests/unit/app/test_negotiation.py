"""The API version of each header value (http-api.md 1)."""

import pytest

from annals.app.edge.negotiation import (
    negotiate,
    translate_download,
    translate_function,
    translate_template,
    translate_variable,
)


def test_missing_header_is_version_1_8_with_the_fields_of_all_versions() -> None:
    api_version = negotiate("")

    assert not api_version.newest
    assert api_version.union
    assert api_version.shows_specification
    assert api_version.shows_split_specification
    assert api_version.shows_resource
    assert api_version.shows_function_id
    assert api_version.key_prefix == "dynamic"


@pytest.mark.parametrize("header", ["nonsense", "2.0", "v2.0.0", "2.0.0.0", "-1.0.0", "1.8", " ", "2.5.0 ", "２.５.０"])
def test_invalid_version_header_counts_as_missing(header: str) -> None:
    assert negotiate(header) == negotiate("")


@pytest.mark.parametrize("header", ["2.0.0", "2.5.0", "2.0.1", "10.0.0", "2.0.0+build.5"])
def test_versions_from_2_0_on_are_the_newest(header: str) -> None:
    api_version = negotiate(header)

    assert api_version.newest
    assert api_version.shows_resource
    assert not api_version.shows_function_id
    assert not api_version.shows_specification
    assert api_version.key_prefix == "ephemeral"


@pytest.mark.parametrize("header", ["1.9.6", "1.8.0", "2.0.0-rc.1", "0.0.0"])
def test_versions_below_2_0_are_not_the_newest(header: str) -> None:
    api_version = negotiate(header)

    assert not api_version.newest
    assert not api_version.shows_resource
    assert api_version.shows_function_id


@pytest.mark.parametrize(
    ("header", "names_variables", "splits", "former_names", "knows_scopes"),
    [
        ("1.9.6", True, True, False, True),
        ("1.9.4", True, True, False, True),
        ("1.9.3", False, True, False, True),
        ("1.9.0", False, True, False, True),
        ("1.8.0", False, False, False, True),
        ("1.7.0", False, False, False, True),
        ("1.6.9", False, False, True, True),
        ("1.5.9", False, False, True, False),
    ],
)
def test_each_difference_begins_with_its_version(
    header: str, names_variables: bool, splits: bool, former_names: bool, knows_scopes: bool
) -> None:
    api_version = negotiate(header)

    assert api_version.names_variables is names_variables
    assert api_version.splits_specification is splits
    assert api_version.former_names is former_names
    assert api_version.knows_scopes is knows_scopes


def test_only_a_format_newer_than_the_server_gets_a_warning() -> None:
    assert "2.5.1" in negotiate("2.5.1").warning
    assert negotiate("2.5.0").warning == negotiate("1.8.0").warning == negotiate("nonsense").warning == ""


def test_single_specification_sets_build_and_runtime() -> None:
    former = negotiate("1.8.0")
    both = {"buildSpecification": "a", "runtimeSpecification": "a"}

    assert translate_function({"specification": "a"}, former) == {"specification": "a", **both}
    assert translate_function({"specification": ""}, former) == {"specification": ""}
    assert translate_function({"specification": "a"}, negotiate("1.9.0")) == {"specification": "a"}


def test_without_a_header_newest_names_take_precedence() -> None:
    sent = {"specification": "a", "buildSpecification": "b", "runtimeSpecification": None}

    assert translate_function(sent, negotiate("")) == {
        "specification": "a",
        "buildSpecification": "b",
        "runtimeSpecification": "a",
    }


def test_version_of_a_template_is_a_tag() -> None:
    assert translate_template({"version": "1"}, negotiate("1.8.0")) == {
        "version": "1",
        "type": "tag",
        "reference": "1",
    }  # fmt: skip
    assert translate_template({"version": "1"}, negotiate("1.9.0")) == {"version": "1"}


def test_variables_without_an_id_get_one() -> None:
    assert translate_variable({}, negotiate("1.9.3")) == {"variableId": "unique()"}
    assert translate_variable({}, negotiate("1.9.4")) == {}
    assert translate_variable({"variableId": "v", "secret": True}, negotiate("1.6.0")) == {
        "variableId": "v",
        "secret": False,
    }


def test_old_versions_only_download_outputs() -> None:
    assert translate_download({"type": "source"}, negotiate("1.6.0")) == {"type": "output"}
    assert translate_download({"type": "source"}, negotiate("1.7.0")) == {"type": "source"}

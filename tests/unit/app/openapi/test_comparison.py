"""Our OpenAPI documents equal the reference's, except for differences with a reason."""

import pytest

from annals.app.openapi.document import NAMES
from tests.routes import ENDPOINTS
from tests.unit.app.openapi.comparison import API_VERSIONS, REASONS, differences, ours, reason_of, reference


@pytest.mark.parametrize("version", API_VERSIONS)
def test_every_difference_from_the_reference_has_a_reason(version: str) -> None:
    assert [line for line in differences(version) if reason_of(line, version) is None] == []


def test_every_reason_explains_a_difference() -> None:
    used = {
        (reason, version)
        for version in API_VERSIONS
        for line in differences(version)
        if (reason := reason_of(line, version)) is not None
    }
    answer = {(reason, version) for reason in REASONS for version in reason.api_versions}
    assert answer - used == set()


@pytest.mark.parametrize("version", API_VERSIONS)
def test_reference_has_thirty_operations(version: str) -> None:
    assert len(reference(version)["operations"]) == len(NAMES) == 30


@pytest.mark.parametrize("version", API_VERSIONS)
def test_every_operation_is_described_once(version: str) -> None:
    operations = [one for methods in ours(version)["paths"].values() for one in methods.values()]
    names = [one["operationId"] for one in operations]

    assert len(names) == len(set(names)) == len([one for one in ENDPOINTS if one.path.startswith("/v1/")])


@pytest.mark.parametrize("version", API_VERSIONS)
def test_scopes_are_the_references(version: str) -> None:
    document = ours(version)
    for name, operation in reference(version)["operations"].items():
        method, path = name.split(" ")
        wanted = {operation["scope"]} if isinstance(operation["scope"], str) else set(operation["scope"])
        mine = document["paths"].get(path, {}).get(method)
        if mine is not None and "public" not in wanted:
            assert wanted <= set(mine["x-annals"]["scopes"]), name

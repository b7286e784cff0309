"""The route table, and the table of errors."""

import msgspec
import pytest

from annals.app.edge import errors as constraint_errors
from annals.app.edge.error_answers import STATUS, domain_error_answer, error_answer
from annals.app.edge.errors import RouteNotFound
from annals.app.edge.operations import ROUTES
from annals.app.edge.routing import Operation, Routes
from annals.domain import errors
from annals.domain.errors import DomainError, FunctionNotFound, RateLimited


async def nothing(_: object) -> None:
    return None


@pytest.mark.parametrize(
    ("method", "path", "template"),
    [
        ("GET", "/v1/functions/runtimes", "/v1/functions/runtimes"),
        ("GET", "/v1/functions/usage", "/v1/functions/usage"),
        ("GET", "/v1/functions/abc", "/v1/functions/{functionId}"),
        ("GET", "/v1/functions/abc/", "/v1/functions/{functionId}"),
        ("HEAD", "/v1/functions/abc", "/v1/functions/{functionId}"),
        ("GET", "/v1/functions/", "/v1/functions"),
        ("POST", "/v1/functions/a/deployments/duplicate", "/v1/functions/{functionId}/deployments/duplicate"),
        (
            "GET",
            "/v1/functions/a/deployments/b/download",
            "/v1/functions/{functionId}/deployments/{deploymentId}/download",
        ),
    ],
)
def test_literal_segments_win_over_parameters(method: str, path: str, template: str) -> None:
    assert ROUTES.find(method, path)[0].path == template


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PATCH", "/v1/functions"),
        ("POST", "/v1/functions/runtimes"),
        ("GET", "/v1/functions2"),
        ("GET", "/v1/functions//deployments"),
        ("GET", "/functions"),
        ("GET", "/"),
        ("GET", ""),
        ("BREW", "/v1/functions"),
        ("PUT", "/v1/functions/usage"),
    ],
)
def test_an_unknown_path_or_method_is_no_route(method: str, path: str) -> None:
    with pytest.raises(RouteNotFound):
        ROUTES.find(method, path)


def test_path_values_are_named() -> None:
    _, values = ROUTES.find("GET", "/v1/functions/f/variables/v")

    assert values == {"functionId": "f", "variableId": "v"}


def test_an_operation_is_declared_once() -> None:
    with pytest.raises(ValueError, match="twice"):
        Routes([Operation("GET", "/a", nothing), Operation("GET", "/a", nothing)])


def every_refusal() -> list[type[DomainError]]:
    found: list[type[DomainError]] = []
    waiting: list[type[DomainError]] = [DomainError]
    while waiting:
        refusal = waiting.pop()
        found.append(refusal)
        waiting += [r for r in refusal.__subclasses__() if r.__module__.startswith("annals.")]  # other tests have some
    return found


@pytest.mark.parametrize("refusal", every_refusal(), ids=lambda refusal: refusal.__name__)
def test_every_refusal_has_its_code(refusal: type[DomainError]) -> None:
    assert refusal.__module__ in {errors.__name__, constraint_errors.__name__}
    answer = domain_error_answer(refusal())

    assert answer.status == STATUS[refusal.type]
    passes = (b"retry-after", b"1") in answer.headers
    assert 400 <= answer.status < 500 or (answer.status == 503 and passes != (refusal is constraint_errors.Damaged))


def test_an_error_has_the_envelope_and_is_not_cached() -> None:
    answer = domain_error_answer(FunctionNotFound())

    assert msgspec.json.decode(answer.body) == {
        "message": FunctionNotFound.default,
        "code": 404,
        "type": "function_not_found",
        "version": "1.9.6",
    }
    assert dict(answer.headers)[b"cache-control"] == b"no-cache, no-store, must-revalidate"


def test_a_code_that_is_not_told_becomes_a_bare_500() -> None:
    answer = error_answer("details", 507, "storage_full")

    assert answer.status == 500
    assert msgspec.json.decode(answer.body)["message"] == "Server Error"


def test_who_must_wait_hears_how_long() -> None:
    assert dict(domain_error_answer(RateLimited(retry_after=5)).headers)[b"retry-after"] == b"5"

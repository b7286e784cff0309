"""The route table, and the table of errors."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest
from litestar import Litestar, Response
from litestar.connection import ASGIConnection
from litestar.exceptions import ImproperlyConfiguredException
from litestar.testing import TestClient

from annals.app import errors as app_errors
from annals.app.controllers import CONTROLLERS
from annals.app.edge import operation
from annals.app.edge.call import Call
from annals.app.edge.declared import DEFAULTS
from annals.app.edge.edge import LONGEST_PATH, Edge
from annals.app.edge.error_answers import STATUS, domain_error_answer, error_answer
from annals.app.edge.failures import EXCEPTION_HANDLERS
from annals.app.hosts.domain_request import DomainRequest, request_kind
from annals.app.services import Services
from annals.domain import errors
from annals.domain.errors import DomainError, FunctionNotFound, RateLimited
from annals.settings import Settings
from annals.telemetry.metrics import Metrics

Client = TestClient[Any]


class Met(Exception):
    """Return the route of a request, which a guard reports before the operation begins."""

    def __init__(self, connection: ASGIConnection[Any, Any, Any, Any]) -> None:
        scope = connection.scope
        self.answer = Response(scope["path_params"], headers={"x-route": scope["path_template"]})


async def tell(connection: ASGIConnection[Any, Any, Any, Any], _: Any) -> None:
    raise Met(connection)


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    handlers: dict[int | type[Exception], Any] = {**EXCEPTION_HANDLERS, Met: lambda _, met: met.answer}
    edge = Edge(
        Litestar(CONTROLLERS, guards=[tell], exception_handlers=handlers, opt=DEFAULTS, openapi_config=None),
        Metrics(),
        request_kind,
    )
    edge.open(cast(Services, SimpleNamespace(settings=Settings())))
    with TestClient(edge, base_url="http://127.0.0.1") as opened:
        yield opened


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
def test_literal_segments_win_over_parameters(client: Client, method: str, path: str, template: str) -> None:
    met = client.request(method, path)

    assert (met.status_code, met.headers["x-route"]) == (200, template)


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
def test_unknown_path_or_method_has_no_route(client: Client, method: str, path: str) -> None:
    refused = client.request(method, path)

    assert (refused.status_code, refused.json()["type"]) == (404, "general_route_not_found")


def test_head_is_answered_by_the_route_of_get_without_a_body(client: Client) -> None:
    got, headed = client.get("/v1/functions/abc"), client.head("/v1/functions/abc")

    assert (headed.status_code, headed.headers["x-route"]) == (got.status_code, got.headers["x-route"])
    assert (got.content != b"", headed.content) == (True, b"")


def test_path_over_the_limit_is_no_route(client: Client) -> None:
    longest = "/v1/functions/".ljust(LONGEST_PATH, "a")

    assert client.get(longest).status_code == 200
    assert client.get(f"{longest}a").json()["type"] == "general_route_not_found"


def test_path_values_are_named(client: Client) -> None:
    met = client.get("/v1/functions/f/variables/v")

    assert met.json() == {"functionId": "f", "variableId": "v"}


def test_operation_is_declared_once() -> None:
    class Twice(operation.ResourceController):
        @operation.get("/a")
        async def one(self, call: Call) -> None: ...

        @operation.get("/a")
        async def other(self, call: Call) -> None: ...

    with pytest.raises(ImproperlyConfiguredException, match="unique"):
        Litestar([Twice])


def error_types() -> list[type[DomainError]]:
    found: list[type[DomainError]] = []
    waiting: list[type[DomainError]] = [DomainError]
    while waiting:
        error = waiting.pop()
        found.append(error)
        waiting += [
            r for r in error.__subclasses__() if r.__module__.startswith("annals.")
        ]  # other tests have classes of their own
    return found


@pytest.mark.parametrize("error", error_types(), ids=lambda error: error.__name__)
def test_every_error_type_has_a_status_code(error: type[DomainError]) -> None:
    assert error.__module__ in {errors.__name__, app_errors.__name__}
    answer = domain_error_answer(error())

    assert answer.status == STATUS[error.type]
    passes = (b"retry-after", b"1") in answer.headers
    assert 400 <= answer.status < 500 or (answer.status == 503 and passes != (error is app_errors.Damaged))


def test_error_has_the_envelope_and_is_not_cached() -> None:
    answer = domain_error_answer(FunctionNotFound())

    assert msgspec.json.decode(answer.body) == {
        "message": FunctionNotFound.default,
        "code": 404,
        "type": "function_not_found",
        "version": "1.9.6",
    }
    assert dict(answer.headers)[b"cache-control"] == b"no-cache, no-store, must-revalidate"


def test_unknown_error_becomes_a_bare_500() -> None:
    answer = error_answer("details", 507, "storage_full")

    assert answer.status == 500
    assert msgspec.json.decode(answer.body)["message"] == "Server Error"


def test_errors_that_can_be_retried_carry_retry_after() -> None:
    assert dict(domain_error_answer(RateLimited(retry_after=5)).headers)[b"retry-after"] == b"5"


def test_names_under_which_clients_and_functions_reach_the_api_belong_to_no_function() -> None:
    settings = Settings(public_url="https://api.example.com/v1", functions_api_url="http://api.internal:8088/v1")

    for host in (b"api.example.com", b"API.internal:8088", b"localhost:1", b"10.0.0.1", b"[::1]:80", b""):
        assert request_kind(host, settings) is Call
    assert request_kind(b"hello.example.com", settings) is DomainRequest

"""Hints of an instance's answers, as the command line shows them."""

import httpx
import pytest

from annals.cli.import_appwrite import Api, Finding, ImportRefused, Move
from annals.executor.service.doctor import served_check

HINT = "The runtime php-8.3 is accepted, but its builds fail on this instance."
FUNCTION = {"$id": "f", "name": "fn", "runtime": "php-8.3"}


def api(answers: dict[str, httpx.Response]) -> Api:
    """An API that answers by method and path, and has no route for anything else."""
    unknown = httpx.Response(
        404, json={"message": "The requested route was not found.", "type": "general_route_not_found"}
    )
    opened = Api("http://annals.test/v1", "p", "k")
    opened.close()
    opened._http = httpx.Client(
        base_url="http://annals.test/v1",
        transport=httpx.MockTransport(lambda request: answers.get(f"{request.method} {request.url.path}", unknown)),
    )
    return opened


def test_import_shows_the_hint_beside_the_function() -> None:
    source = api(
        {
            "GET /v1/functions": httpx.Response(200, json={"functions": [FUNCTION]}),
            "GET /v1/functions/f/variables": httpx.Response(200, json={"variables": []}),
            "GET /v1/functions/f/deployments": httpx.Response(200, json={"deployments": []}),
        }
    )
    target = api({"POST /v1/functions": httpx.Response(201, json=FUNCTION, headers={"x-annals-hint": HINT})})

    findings = Move(source, target, all_deployments=False, schedules=False).run()

    assert Finding("function", "f", came=True, why=HINT) in findings


def test_error_message_includes_its_hint() -> None:
    hint = "The API key does not belong to this project."
    refused = httpx.Response(401, json={"message": "Not authorized."}, headers={"x-annals-hint": hint})

    with pytest.raises(ImportRefused, match=f"401 Not authorized. {hint}"):
        api({"GET /v1/functions": refused}).call("GET", "/functions")


def test_doctor_explains_unavailable_runtimes() -> None:
    check = served_check(["node-22", "python-3.13", "static-1"])

    assert (check.ok, check.detail) == (True, "node-22, python-3.13, static-1")
    assert "php" in check.fix
    assert "node" not in check.fix
    assert "ANNALS_DRIVER=docker" in check.fix

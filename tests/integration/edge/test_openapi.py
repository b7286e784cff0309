"""The API's own OpenAPI description, and the page that shows it."""

import re

import pytest

from annals.app.openapi.texts import TEXTS
from tests.integration.edge.client import Client
from tests.routes import ENDPOINTS


async def test_each_api_version_has_its_document(anonymous: Client) -> None:
    newest = (await anonymous.get("/openapi.json")).json
    former = (await anonymous.get("/openapi.json", format="1.8.0")).json

    asked = await anonymous.with_(x_appwrite_response_format="1.8.0").get("/openapi.json")
    assert asked.json == former
    shown = [set(document["components"]["schemas"]["execution"]["properties"]) for document in (newest, former)]
    assert shown[0] - shown[1] == {"resourceId", "resourceType"}
    assert shown[1] - shown[0] == {"functionId"}


async def test_model_has_exactly_the_fields_that_answers_have(key: Client) -> None:
    version = key.headers.get("x-appwrite-response-format")
    if version is None:
        key = key.with_(x_appwrite_response_format="1.8.0")
    document = (await key.get("/openapi.json")).json
    made = await key.post("/v1/functions", functionId="f", name="f", runtime="node-22")

    assert set(document["components"]["schemas"]["function"]["properties"]) == set(made.json)


async def test_page_loads_no_external_assets(anonymous: Client) -> None:
    page = await anonymous.get("/docs")

    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'self'" in page.headers["content-security-policy"]
    wanted = re.findall(r'(?:src|href)="([^"]+)"', page.body.decode())
    assert len(wanted) == 5
    for path in wanted:
        assert path.startswith("/docs/")
        assert (await anonymous.get(path)).status == 200


@pytest.mark.parametrize("name", ["index.html", "..", "swagger-ui.js.map"])
async def test_only_the_assets_of_the_page_are_served(anonymous: Client, name: str) -> None:
    assert (await anonymous.get(f"/docs/{name}")).error == (404, "general_route_not_found")


def test_every_operation_has_a_summary_and_a_description() -> None:
    served = {(one.method, one.path) for one in ENDPOINTS if one.path.startswith("/v1/")}

    assert served ^ set(TEXTS) == set()
    assert [key for key, text in TEXTS.items() if len(text.summary) < 5 or len(text.description) < 10] == []
    assert [key for key, text in TEXTS.items() if text.summary[-1] == "." or text.description[-1] != "."] == []


async def test_as_of_and_dry_run_are_described_for_operations_that_take_them(anonymous: Client) -> None:
    paths = (await anonymous.get("/openapi.json")).json["paths"]

    def names(path: str, method: str) -> set[str]:
        return {parameter["name"] for parameter in paths[path][method].get("parameters", [])}

    assert "asOf" in names("/functions/{functionId}", "get")
    assert "asOf" not in names("/users/{userId}", "get")
    assert {"dryRun", "Idempotency-Key"} <= names("/functions", "post")
    assert "dryRun" in names("/functions/{functionId}", "delete")
    assert {"dryRun", "Idempotency-Key"}.isdisjoint(names("/functions", "get"))


async def test_dry_run_answers_are_described_for_operations_that_take_them(anonymous: Client) -> None:
    paths = (await anonymous.get("/openapi.json")).json["paths"]
    operations = [
        operation
        for described in paths.values()
        for operation in described.values()
        if any(parameter["name"] == "dryRun" for parameter in operation.get("parameters", ()))
        and "2XX" not in operation["responses"]
    ]
    shown = [operation["responses"]["200"]["content"]["application/json"]["schema"] for operation in operations]

    assert len(shown) > 10
    for schema in shown:
        assert {"total", "events"} <= set(schema.get("anyOf", [schema])[-1]["properties"])

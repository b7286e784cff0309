"""Rules: host names for functions (around.md 4)."""

import pytest

from annals.app.services import Services
from tests.integration.edge import given
from tests.integration.edge.client import Client, Reply


async def rule(client: Client, function_id: str, domain: str, **fields: str) -> Reply:
    return await client.post("/v1/proxy/rules/function", domain=domain, functionId=function_id, **fields)


async def test_rule_names_its_function_and_the_deployment_that_answers(services: Services, key: Client) -> None:
    function_id = await given.running_function(services, key)
    active = (await key.get(f"/v1/functions/{function_id}")).json["deploymentId"]

    made = await rule(key, function_id, "Hello.Functions.localhost")

    assert made.status == 201, made.body
    shown = made.json
    assert (shown["domain"], shown["type"], shown["trigger"]) == (
        "hello.functions.localhost",
        "deployment",
        "manual",
    )
    assert (shown["deploymentResourceType"], shown["deploymentResourceId"]) == ("function", function_id)
    assert (shown["deploymentId"], shown["status"]) == (active, "verified")
    assert (await key.get(f"/v1/proxy/rules/{shown['$id']}")).json == shown


async def test_rules_are_found_by_the_queries_of_the_stock_cli(plain: Client) -> None:
    one, other = await given.function(plain), await given.function(plain)
    first = (await rule(plain, one, "a.test")).json
    await rule(plain, other, "b.test")
    await rule(plain, one, "c.test")

    found = await plain.get(
        "/v1/proxy/rules",
        [
            given.query("limit", None, 1),
            given.query("equal", "deploymentResourceType", "function"),
            given.query("equal", "deploymentResourceId", one),
            given.query("equal", "trigger", "manual"),
        ],
    )

    assert found.json == {"total": 2, "rules": [first]}
    assert [row["domain"] for row in (await plain.get("/v1/proxy/rules", search="b.te")).json["rules"]] == ["b.test"]


async def test_domain_belongs_to_one_rule_of_all_projects_until_its_deletion(plain: Client) -> None:
    function_id = await given.function(plain)
    made = (await rule(plain, function_id, "taken.test")).json
    foreign = plain.with_(x_appwrite_project="p2", x_appwrite_key="p2-all")
    foreign_function = await given.function(foreign)

    assert (await rule(foreign, foreign_function, "taken.test")).error == (409, "rule_already_exists")
    assert (await foreign.delete(f"/v1/proxy/rules/{made['$id']}")).error == (404, "rule_not_found")
    assert (await plain.delete(f"/v1/proxy/rules/{made['$id']}")).status == 204
    assert (await plain.get(f"/v1/proxy/rules/{made['$id']}")).error == (404, "rule_not_found")
    assert (await plain.delete(f"/v1/proxy/rules/{made['$id']}")).error == (404, "rule_not_found")
    assert (await rule(foreign, foreign_function, "taken.test")).status == 201


async def test_rules_are_deleted_with_their_function(plain: Client) -> None:
    function_id = await given.function(plain)
    made = (await rule(plain, function_id, "gone.test")).json

    await plain.delete(f"/v1/functions/{function_id}")

    assert (await plain.get("/v1/proxy/rules")).json == {"total": 0, "rules": []}
    assert (await plain.delete(f"/v1/proxy/rules/{made['$id']}")).error == (404, "rule_not_found")


@pytest.mark.parametrize(
    "domain", ["localhost", "127.0.0.1", "functions.localhost", "-a.test", "a..test", "a b.test", "http://a.test", ""]
)
async def test_domain_must_be_a_host_name_other_than_the_instances(plain: Client, domain: str) -> None:
    function_id = await given.function(plain)

    assert (await rule(plain, function_id, domain)).error == (400, "general_argument_invalid")


async def test_rule_needs_a_function_and_the_scope(plain: Client) -> None:
    assert (await rule(plain, "nope", "a.test")).error == (404, "function_not_found")
    reader = plain.with_(x_appwrite_key="p1-read")
    assert (await rule(reader, "nope", "a.test")).error == (401, "general_unauthorized_scope")
    assert (await reader.get("/v1/proxy/rules")).error == (401, "general_unauthorized_scope")

"""The catalogue, usage and health of an instance (behaviours.md C, K)."""

import re

import msgspec
import pytest

from annals.app.services import Services, offered
from annals.settings import Settings
from tests.integration.edge import given
from tests.integration.edge.client import Client
from tests.routes import edge_of

RUNTIME_FIELDS = {"$id", "key", "name", "version", "base", "image", "logo", "supports"}


@pytest.mark.behaviours(46)
async def test_runtimes_are_listed(key: Client) -> None:
    found = (await key.get("/v1/functions/runtimes")).json

    assert found["total"] == len(found["runtimes"]) == 98
    assert all(set(runtime) == RUNTIME_FIELDS for runtime in found["runtimes"])
    node = next(runtime for runtime in found["runtimes"] if runtime["$id"] == "node-22")
    assert (node["name"], node["image"]) == ("Node.js", "openruntimes/node:v5-22")


@pytest.mark.behaviours(47)
async def test_specifications_are_listed(key: Client) -> None:
    found = (await key.get("/v1/functions/specifications")).json

    assert found["total"] == len(found["specifications"]) == 9
    assert {"slug": "s-1vcpu-512mb", "memory": 512, "cpus": 1.0, "enabled": True} in found["specifications"]
    assert (await key.get("/v1/functions/specifications", type="BUILDS")).status == 200
    assert (await key.get("/v1/functions/specifications", type="x")).error[0] == 400


async def test_instance_may_offer_less(settings: Settings, services: Services) -> None:
    decrement = msgspec.structs.replace(
        settings, runtimes=("node-22",), specification_max_cpus=1, specification_max_memory_mb=512
    )
    services.settings = decrement
    services.runtimes, services.specifications = offered(decrement)
    edge = edge_of(services)
    client = Client(edge, {"x-appwrite-project": "p1", "x-appwrite-key": "p1-all"})

    assert (await client.get("/v1/functions/runtimes")).json["total"] == 1
    assert (await client.get("/v1/functions/specifications")).json["total"] == 2
    reply = await client.post("/v1/functions", functionId="f", name="n", runtime="python-3.11")
    assert reply.error == (404, "function_runtime_unsupported")
    function = (await client.post("/v1/functions", functionId="f", name="n", runtime="node-22")).json
    assert function["specification"] == "s-1vcpu-512mb"
    wrong = {"functionId": "g", "name": "n", "runtime": "node-22", "specification": "s-8vcpu-8gb"}
    assert (await client.json("POST", "/v1/functions", wrong)).error[0] == 400
    templates = (await client.get("/v1/functions/templates", limit="5000")).json["templates"]
    assert {runtime["name"] for template in templates for runtime in template["runtimes"]} == {"node-22"}


@pytest.mark.behaviours(49, 50, 51, 52)
async def test_templates_are_filtered_and_paged(key: Client) -> None:
    path = "/v1/functions/templates"
    first = (await key.get(path)).json
    assert (len(first["templates"]), first["total"]) == (25, 41)
    page = (await key.get(path, limit="1", offset="2")).json["templates"]
    assert page == [first["templates"][2]]
    for wrong in ({"limit": "5001"}, {"offset": "5001"}, {"limit": "0"}, {"useCases[]": "nope"}):
        assert (await key.get(path, **wrong)).error == (400, "general_argument_invalid")
    filtered = await key.send("GET", path, query="useCases[]=starter&useCases[]=AI&runtimes[]=node-22&limit=100")
    assert filtered.json["total"] == len(filtered.json["templates"]) > 1
    for template in filtered.json["templates"]:
        assert {"starter", "ai"} & set(template["useCases"])
        assert "node-22" in {runtime["name"] for runtime in template["runtimes"]}


async def test_every_template_describes_its_purpose_and_use(keys: list[Client]) -> None:
    for key in keys:
        templates = (await key.get("/v1/functions/templates", limit="100")).json["templates"]
        assert len(templates) == 41
        for template in templates:
            tagline, instructions = template["tagline"], template["instructions"]
            assert 30 <= len(tagline) <= 120, tagline
            assert re.fullmatch(r"[A-Z][^.]*(\.ai[^.]*)?\.", tagline), (
                tagline
            )  # one sentence; fal.ai has a dot of its own
            assert 100 <= len(instructions) <= 600, instructions
            assert instructions.endswith(".")
            assert "\n" not in instructions
            for variable in template["variables"]:
                assert variable["description"].endswith("."), variable
                assert variable["placeholder"], variable
                assert variable["secret"] is False, variable  # as in the reference: a password can be read back


async def test_instructions_name_only_variables_that_the_template_has(plain: Client) -> None:
    templates = (await plain.get("/v1/functions/templates", limit="100")).json["templates"]
    known = {variable["name"] for template in templates for variable in template["variables"]}
    for template in templates:
        named = set(re.findall(r"\b[A-Z][A-Z0-9]*_[A-Z0-9_]*[A-Z0-9]\b", template["instructions"]))
        assert named <= {variable["name"] for variable in template["variables"]} & known, template["id"]


@pytest.mark.behaviours(53, 54)
async def test_single_template_is_shown(key: Client) -> None:
    template = (await key.get("/v1/functions/templates/query-neo4j-auradb")).json

    assert (template["name"], template["icon"]) == ("Query Neo4j AuraDB", "icon-neo4j")
    assert (template["useCases"], template["vcsProvider"]) == (["databases"], "github")
    missing = await key.get("/v1/functions/templates/invalid-template-id")
    assert missing.error == (404, "function_template_not_found")


@pytest.mark.behaviours(172, 173, 174, 175, 176)
@pytest.mark.parametrize(("chosen", "points"), [("24h", 24), ("30d", 30), ("90d", 90), ("", 30)])
async def test_usage_has_a_point_for_each_interval(
    services: Services, keys: list[Client], chosen: str, points: int
) -> None:
    plain, *others = keys
    function_id = await given.running_function(services, plain)
    await plain.post(f"/v1/functions/{function_id}/executions")
    asked = {"range": chosen} if chosen else {}

    one = (await plain.get(f"/v1/functions/{function_id}/usage", **asked)).json
    everything = (await plain.get("/v1/functions/usage", **asked)).json

    for other in others:
        assert (await other.get(f"/v1/functions/{function_id}/usage", **asked)).json == one
        assert (await other.get("/v1/functions/usage", **asked)).json == everything
    assert (len(one), len(everything)) == (24, 25)
    assert one["range"] == everything["range"] == (chosen or "30d")
    for usage in (one, everything):
        series = {name: value for name, value in usage.items() if isinstance(value, list)}
        assert {len(value) for value in series.values()} == {points}
        assert usage["executionsTotal"] == usage["executions"][-1]["value"] == 1
        assert usage["executionsTimeTotal"] == 250
        dates = [point["date"] for point in series["builds"]]
        assert dates == sorted(dates)
        assert dates[-1].endswith(":00:00.000+00:00")
    assert everything["functionsTotal"] == 1
    assert one["buildsTimeAverage"] == one["buildsTimeTotal"]


@pytest.mark.behaviours(174, 175)
async def test_unknown_ranges_and_functions_of_usage_are_refused(key: Client) -> None:
    function_id = await given.function(key)

    assert (await key.get(f"/v1/functions/{function_id}/usage", range="32h")).error[0] == 400
    assert (await key.get("/v1/functions/usage", range="32h")).error == (400, "general_argument_invalid")
    assert (await key.get("/v1/functions/unknown/usage")).error == (404, "function_not_found")


async def test_health_is_public(anonymous: Client, plain: Client) -> None:
    await plain.get("/v1/functions")

    assert (await anonymous.get("/v1/health")).json["status"] == "pass"
    assert (await anonymous.get("/v1/health/version")).json == {"version": "1.9.6"}
    ready = await anonymous.get("/v1/health/ready")
    assert (ready.status, ready.json["logWritable"], ready.json["ready"]) == (503, True, False)
    assert ready.json["roles"] == {"api": 1}
    limits = (await anonymous.get("/v1/limits")).json
    assert (limits["uploadLimitBytes"], limits["syncWaitSeconds"]) == (30_000_000, 30)
    metrics = await anonymous.get("/metrics")
    assert 'annals_http_requests_total{method="GET",route="/v1/functions",status="200"} 1' in metrics.body.decode()

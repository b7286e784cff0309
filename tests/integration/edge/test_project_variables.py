"""Variables that all functions of a project have (around.md 2, http-api.md 9.1)."""

import pytest

from annals.app.services import Services
from tests.integration.edge.client import Client
from tests.integration.edge.executor import FakeExecutor
from tests.integration.edge.given import execute, running_function

PATH = "/v1/project/variables"


async def test_variable_is_made_changed_listed_and_removed(plain: Client) -> None:
    made = (await plain.post(PATH, variableId="v", key="A", value="1", secret=False)).json
    assert (made["$id"], made["key"], made["value"], made["secret"]) == ("v", "A", "1", False)
    assert (made["resourceType"], made["resourceId"]) == ("project", "")
    assert (await plain.get(f"{PATH}/v")).json == made
    assert (await plain.get(PATH)).json == {"total": 1, "variables": [made]}
    assert (await plain.post(PATH, variableId="w", key="A", value="2")).error == (409, "variable_already_exists")
    assert (await plain.post(PATH, variableId="v", key="B", value="2")).error == (409, "variable_already_exists")
    changed = (await plain.put(f"{PATH}/v", value="2", secret=True)).json
    assert (changed["key"], changed["value"], changed["secret"]) == ("A", "", True)
    assert (await plain.put(f"{PATH}/v", secret=False)).error == (400, "variable_cannot_unset_secret")
    assert (await plain.put(f"{PATH}/v")).error == (400, "general_argument_invalid")
    assert (await plain.put(f"{PATH}/nope", key="x")).error == (404, "variable_not_found")
    assert (await plain.delete(f"{PATH}/v")).status == 204
    assert (await plain.delete(f"{PATH}/v")).error == (404, "variable_not_found")
    assert (await plain.get(f"{PATH}/v")).error == (404, "variable_not_found")
    assert (await plain.with_(x_appwrite_key="p1-read").get(PATH)).error == (401, "general_unauthorized_scope")


async def test_ids_are_unique_with_those_of_functions(services: Services, plain: Client) -> None:
    function_id = await running_function(services, plain)
    await plain.post(f"/v1/functions/{function_id}/variables", variableId="v", key="A", value="1")

    assert (await plain.post(PATH, variableId="v", key="A", value="1")).error == (409, "variable_already_exists")
    assert (await plain.post(PATH, variableId="w", key="A", value="1")).status == 201
    assert (await plain.get(f"/v1/functions/{function_id}/variables")).json["total"] == 1
    assert (await plain.get(f"/v1/functions/{function_id}/variables/w")).error == (404, "variable_not_found")


@pytest.mark.behaviours(150)
async def test_functions_own_variables_win_and_reserved_ones_always(
    services: Services, plain: Client, executor: FakeExecutor
) -> None:
    function_id = await running_function(services, plain)
    own = f"/v1/functions/{function_id}/variables"
    await plain.post(PATH, variableId="x", key="X", value="1")
    await plain.post(PATH, variableId="y", key="Y", value="only the project's")

    seen = []
    await execute(plain, function_id)
    seen.append(executor.runs[-1].environment["X"])
    await plain.post(own, variableId="own", key="X", value="2")
    await plain.post(own, variableId="id", key="APPWRITE_FUNCTION_ID", value="mine")
    await execute(plain, function_id)
    seen.append(executor.runs[-1].environment["X"])

    assert seen == ["1", "2"]
    assert executor.runs[-1].environment["Y"] == "only the project's"
    assert executor.runs[-1].environment["APPWRITE_FUNCTION_ID"] == function_id


async def test_change_reaches_the_next_execution(services: Services, plain: Client, executor: FakeExecutor) -> None:
    function_id = await running_function(services, plain)
    await plain.post(PATH, variableId="x", key="X", value="1")
    await execute(plain, function_id)
    await plain.put(f"{PATH}/x", value="2")
    await execute(plain, function_id)
    await plain.delete(f"{PATH}/x")
    await execute(plain, function_id)

    first, second, third = executor.runs[-3:]
    assert (first.environment["X"], second.environment["X"], third.environment.get("X")) == ("1", "2", None)
    assert len({run.environment_digest for run in (first, second, third)}) == 3

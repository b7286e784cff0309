"""Functions, variables, lists and the catalogue through the official SDKs (behaviours.md B, C, I, J)."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.api import code
from tests.api.conftest import create_function, deploy
from tests.api.sdks import Sdk, SdkError


def refused(sdk: Sdk, method: str, **sent: Any) -> tuple[int | None, str]:
    with pytest.raises(SdkError) as error:
        sdk.call(method, **sent)
    return error.value.code, error.value.type


def test_function_is_created_updated_and_deleted(sdk: Sdk) -> None:
    made = sdk.call(
        "create", functionId="unique()", name="a", runtime="node-22", execute=["any"], schedule="0 0 1 1 *", timeout=60
    )
    function_id = made["$id"]

    assert sdk.call("get", functionId=function_id)["execute"] == ["any"]
    assert sdk.call("update", functionId=function_id, name="b")["schedule"] == ""
    assert function_id in [row["$id"] for row in _all(sdk)]
    sdk.call("delete", functionId=function_id)
    assert refused(sdk, "get", functionId=function_id) == (404, "function_not_found")


def test_errors_arrive_as_exceptions_of_the_sdk(sdk: Sdk) -> None:
    taken = create_function(sdk)

    assert refused(sdk, "create", functionId=taken, name="a", runtime="node-22") == (409, "function_already_exists")
    assert refused(sdk, "create", functionId="x", name="a", runtime="node-99") == (400, "general_argument_invalid")
    assert refused(sdk, "createExecution", functionId=taken) == (404, "deployment_not_found")


@pytest.mark.behaviours(135, 136, 140, 141, 142, 146, 147)
def test_variables_are_created_updated_and_deleted(sdk: Sdk) -> None:
    function_id = create_function(sdk)
    plain = sdk.call(
        "createVariable", functionId=function_id, variableId="unique()", key="A", value="1", secret=False
    )  # fmt: skip
    secret = sdk.call("createVariable", functionId=function_id, variableId="unique()", key="B", value="2")

    assert (plain["value"], secret["value"]) == ("1", "")
    renamed = sdk.call("updateVariable", functionId=function_id, variableId=plain["$id"], key="C")
    assert (renamed["key"], renamed["value"]) == ("C", "1")
    assert sdk.call("getVariable", functionId=function_id, variableId=secret["$id"])["secret"] is True
    listed = sdk.call("listVariables", functionId=function_id)
    assert [row["key"] for row in listed["variables"]] == ["C", "B"]
    sdk.call("deleteVariable", functionId=function_id, variableId=plain["$id"])
    assert sdk.call("listVariables", functionId=function_id)["total"] == 1


@pytest.mark.behaviours(46, 47, 49, 53)
def test_catalogue_lists_runtimes_and_specifications(sdk: Sdk) -> None:
    assert "node-22" in [runtime["$id"] for runtime in sdk.call("listRuntimes")["runtimes"]]
    assert sdk.call("listSpecifications")["total"] == 9


@pytest.mark.behaviours(88)
def test_deployments_from_templates_and_repositories(sdk: Sdk) -> None:
    function_id = create_function(sdk)
    template = {"repository": "templates", "owner": "appwrite", "rootDirectory": "node/starter"}
    sent = {"type": "tag", "reference": "0.*", "activate": False}
    made = sdk.call("createTemplateDeployment", functionId=function_id, **template, **sent)
    assert (made["type"], made["providerRepositoryName"]) == ("vcs", "templates")

    with pytest.raises(SdkError) as error:
        sdk.call("createVcsDeployment", functionId=function_id, type="branch", reference="main", activate=True)
    assert (error.value.code, error.value.type) == (404, "installation_not_found")


@pytest.mark.behaviours(151, 154, 157, 158)
def test_queries_as_sdks_write_them(sdk: Sdk) -> None:
    names = [f"{sdk.name}-{number}" for number in range(3)]
    ids = [create_function(sdk, name=name) for name in names]
    mine = json.dumps({"method": "startsWith", "attribute": "name", "values": [f"{sdk.name}-"]})
    limit = json.dumps({"method": "limit", "values": [1]})
    after = json.dumps({"method": "cursorAfter", "values": [ids[0]]})

    assert sdk.call("list", queries=[mine])["total"] == 3
    page = sdk.call("list", queries=[mine, limit, after])
    assert [row["name"] for row in page["functions"]] == names[1:2]
    descending = sdk.call("list", queries=[mine, '{"method":"orderDesc","attribute":"$createdAt"}'])
    assert [row["name"] for row in descending["functions"]] == names[::-1]
    assert sdk.call("list", search=ids[1])["functions"][0]["$id"] == ids[1]


@pytest.mark.behaviours(66, 67, 85, 86)
def test_large_archive_is_uploaded_in_chunks(sdk: Sdk, tmp_path: Path) -> None:
    function_id = create_function(sdk)
    file = code.archive(tmp_path, code.echo(), padding=11 * 1024 * 1024)

    deployment = deploy(sdk, function_id, file)

    assert deployment["status"] == "ready", deployment["buildLogs"]
    assert deployment["sourceSize"] == Path(file).stat().st_size
    downloaded = sdk.call("getDeploymentDownload", functionId=function_id, deploymentId=deployment["$id"])
    assert downloaded == Path(file).read_bytes()


@pytest.mark.behaviours(69)
def test_failing_build_logs_the_reason_and_keeps_the_active_deployment(sdk: Sdk, echo: str, tmp_path: Path) -> None:
    before = sdk.call("get", functionId=echo)["deploymentId"]

    deployment = deploy(sdk, echo, code.archive(tmp_path, code.echo()), commands="cd /nonexistent")

    assert deployment["status"] == "failed"
    assert "/nonexistent" in deployment["buildLogs"]
    assert deployment["buildSize"] == 0
    assert sdk.call("get", functionId=echo)["deploymentId"] == before


@pytest.mark.behaviours(56, 73, 77, 82, 84)
def test_deployments_are_rolled_back_duplicated_and_deleted(sdk: Sdk, tmp_path: Path) -> None:
    function_id = create_function(sdk)
    first = deploy(sdk, function_id, code.archive(tmp_path, code.echo("one")))
    second = deploy(sdk, function_id, code.archive(tmp_path, code.echo("two")))
    assert (first["status"], second["status"]) == ("ready", "ready")
    assert first["buildDuration"] >= 1
    assert first["totalSize"] == first["sourceSize"] + first["buildSize"]

    back = sdk.call("updateFunctionDeployment", functionId=function_id, deploymentId=first["$id"])
    assert back["deploymentId"] == first["$id"]
    assert '"version":"one"' in sdk.call("createExecution", functionId=function_id)["responseBody"]
    again = sdk.call("createDuplicateDeployment", functionId=function_id, deploymentId=second["$id"])
    assert again["$id"] not in {first["$id"], second["$id"]}
    sdk.call("deleteDeployment", functionId=function_id, deploymentId=second["$id"])
    ids = [row["$id"] for row in sdk.call("listDeployments", functionId=function_id)["deployments"]]
    assert ids == [first["$id"], again["$id"]]


@pytest.mark.behaviours(79, 80)
def test_running_build_is_canceled(sdk: Sdk, tmp_path: Path) -> None:
    function_id = create_function(sdk)
    file = code.archive(tmp_path, code.echo())
    sent = {"functionId": function_id, "code": {"$file": file}, "activate": True, "commands": "sleep 60"}
    deployment_id = sdk.call("createDeployment", **sent)["$id"]

    canceled = sdk.call("updateDeploymentStatus", functionId=function_id, deploymentId=deployment_id)

    assert canceled["status"] == "canceled"
    shown = sdk.call("getDeployment", functionId=function_id, deploymentId=deployment_id)
    assert "Build has been canceled." in shown["buildLogs"]
    ready = deploy(sdk, function_id, file)
    assert refused(sdk, "updateDeploymentStatus", functionId=function_id, deploymentId=ready["$id"]) == (
        400,
        "build_already_completed",
    )
    shown = sdk.call("getDeployment", functionId=function_id, deploymentId=deployment_id)
    assert shown["status"] == "canceled"


def _all(sdk: Sdk) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = sdk.call("list", queries=['{"method":"limit","values":[5000]}'])["functions"]
    return rows

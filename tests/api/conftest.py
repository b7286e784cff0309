"""Every official SDK against one running instance."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.api import code
from tests.api.sdks import SDKS, Sdk, start
from tests.instance import AnnalsInstance, eventually

ENDED = {"ready", "failed", "canceled"}


@pytest.fixture(scope="session", params=SDKS)
def sdk(request: pytest.FixtureRequest, annals_instance: AnnalsInstance) -> Iterator[Sdk]:
    """Return an SDK with a key of all scopes."""
    started = start(request.param, annals_instance.endpoint, annals_instance.project, annals_instance.key)
    yield started
    started.stop()


def create_function(sdk: Sdk, **fields: Any) -> str:
    values = {"functionId": "unique()", "name": "fn", "runtime": "node-22", "entrypoint": "index.js", **fields}
    return str(sdk.call("create", **values)["$id"])


def deploy(sdk: Sdk, function_id: str, file: str, **fields: Any) -> dict[str, Any]:
    """Upload code, wait for the end of its build, and return the deployment."""
    sent = {"activate": True, **fields}
    made = sdk.call("createDeployment", functionId=function_id, code={"$file": file}, **sent)
    return built(sdk, function_id, made["$id"])


def built(sdk: Sdk, function_id: str, deployment_id: str) -> dict[str, Any]:
    def ended() -> dict[str, Any] | None:
        now: dict[str, Any] = sdk.call("getDeployment", functionId=function_id, deploymentId=deployment_id)
        return now if now["status"] in ENDED else None

    found: dict[str, Any] = eventually(ended, 180)
    return found


@pytest.fixture(scope="session")
def echo(sdk: Sdk, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the id of the contract's function F, whose active deployment echoes its request."""
    function_id = create_function(sdk, name="echo", execute=["any"])
    folder: Path = tmp_path_factory.mktemp("echo")
    deployment = deploy(sdk, function_id, code.archive(folder, code.echo("echo")))
    assert deployment["status"] == "ready", deployment["buildLogs"]
    return function_id

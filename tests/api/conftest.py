"""Every official SDK against one running instance."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.api import code
from tests.api.sdks import SDKS, Sdk, start
from tests.architecture.source import ROOT
from tests.instance import AnnalsInstance, annals, eventually

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


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """Return a folder with the `.venv` of the clone, as a reader has it."""
    (tmp_path / ".venv").symlink_to(ROOT / ".venv")
    return tmp_path


@pytest.fixture
def forgetful(annals_instance: AnnalsInstance) -> Iterator[AnnalsInstance]:
    """Yield the instance, then delete what README and tutorial create, so that the steps can be repeated."""
    yield annals_instance
    for function_id in ("hello", "greeter"):
        httpx.delete(f"{annals_instance.endpoint}/functions/{function_id}", headers=annals_instance.headers, timeout=60)
    data = ("--data", str(annals_instance.data))
    listed = json.loads(annals("users", "list", "--json", *data).stdout)["users"]
    for user_id in (user["id"] for user in listed if user["email"] == "you@example.org"):
        assert annals("users", "delete", "--id", user_id, *data).returncode == 0

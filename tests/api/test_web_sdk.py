"""The web SDK, unmodified, in a browser on a page of another origin: sessions, CORS, running as who is signed in."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.api import code
from tests.api.browser import program, serving, visit
from tests.api.sdks import installed
from tests.client import Client
from tests.instance import AnnalsInstance

WEB_SDK = "appwrite@28.0.0"
PAGE = Path(__file__).with_name("browser_page.html")


@pytest.fixture(scope="module")
def browser() -> str:
    found = program()
    if found is None:
        pytest.skip("there is no Chromium here; .ci/browser installs it")
    return found


def test_page_signs_in_and_runs_a_function_as_its_user(
    annals_instance: AnnalsInstance, browser: str, tmp_path: Path
) -> None:
    client = Client(annals_instance.endpoint, annals_instance.headers)
    function_id = client.function("web", code.ECHO, execute=["users"])
    platforms: list[str] = []

    def register() -> None:
        fields = {"platformId": "unique()", "name": "page", "hostname": "localhost"}
        platforms.append(client.call("POST", "/project/platforms/web", json=fields)["$id"])

    settings = {
        "endpoint": annals_instance.endpoint,
        "project": annals_instance.project,
        "functionId": function_id,
        "email": "page@web.test",
    }
    page = PAGE.read_text().replace("SETTINGS", json.dumps(settings))
    sdk = installed(WEB_SDK) / "node_modules" / "appwrite" / "dist" / "iife" / "sdk.js"
    files = {"/": ("text/html; charset=utf-8", page.encode()), "/sdk.js": ("text/javascript", sdk.read_bytes())}
    try:
        with serving(files, {"/register": register}) as site:
            told: Any = visit(browser, site, tmp_path / "profile")
    finally:
        for platform in platforms:
            client.call("DELETE", f"/project/platforms/{platform}")
        client.http.close()

    assert "failed" not in told, told["failed"]
    assert told["unknown"]["message"] == "Failed to fetch", "the browser lets an unknown page read nothing"
    assert told["guest"]["refused"] == [401, "general_unauthorized_scope"]
    assert told["asGuest"]["refused"] == [401, "user_unauthorized"]
    assert told["wrong"]["refused"] == [401, "user_invalid_credentials"]
    assert told["session"]["userId"] == told["user"]["$id"] == told["account"]["$id"]
    assert told["user"]["email"] == settings["email"]

    execution = told["execution"]
    assert execution.get("status") == "completed", execution
    assert execution["$permissions"] == [f'read("user:{told["user"]["$id"]}")']
    seen = json.loads(execution["responseBody"])
    assert (seen["method"], seen["path"], seen["query"], seen["body"]) == ("PUT", "/from/a/page", "x=1", "héllo")
    assert seen["headers"]["x-custom"] == "yes"
    assert seen["headers"]["x-appwrite-user-id"] == told["user"]["$id"]
    assert [one["$id"] for one in told["listed"]["executions"]] == [execution["$id"]]
    assert told["after"]["refused"] == [401, "general_unauthorized_scope"]

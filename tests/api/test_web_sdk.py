"""The web SDK, unmodified, in a browser on a page of another origin: sessions, CORS, executions as the user."""

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
            report: Any = visit(browser, site, tmp_path / "profile")
    finally:
        for platform in platforms:
            client.call("DELETE", f"/project/platforms/{platform}")
        client.http.close()

    assert "failed" not in report, report["failed"]
    assert report["unknown"]["message"] == "Failed to fetch", "the browser let an unknown page read an answer"
    assert report["guest"]["refused"] == [401, "general_unauthorized_scope"]
    assert report["asGuest"]["refused"] == [401, "user_unauthorized"]
    assert report["wrong"]["refused"] == [401, "user_invalid_credentials"]
    assert report["session"]["userId"] == report["user"]["$id"] == report["account"]["$id"]
    assert report["user"]["email"] == settings["email"]

    execution = report["execution"]
    assert execution.get("status") == "completed", execution
    assert execution["$permissions"] == [f'read("user:{report["user"]["$id"]}")']
    seen = json.loads(execution["responseBody"])
    assert (seen["method"], seen["path"], seen["query"], seen["body"]) == ("PUT", "/from/a/page", "x=1", "héllo")
    assert seen["headers"]["x-custom"] == "yes"
    assert seen["headers"]["x-appwrite-user-id"] == report["user"]["$id"]
    assert [one["$id"] for one in report["listed"]["executions"]] == [execution["$id"]]
    assert report["after"]["refused"] == [401, "general_unauthorized_scope"]

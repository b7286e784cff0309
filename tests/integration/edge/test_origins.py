"""The pages from which a browser may call (http-api.md 3.2)."""

import pytest

from annals.app.edge import cors
from tests.integration.edge.client import Client
from tests.integration.edge.given import signed_in, user

PAGE = "https://app.example.test:3000"


async def test_page_may_call_once_its_host_is_a_platform(plain: Client) -> None:
    page = plain.with_(x_appwrite_key=None, origin=PAGE)
    refused = await page.get("/v1/functions/runtimes")
    assert refused.error == (403, "general_unknown_origin")
    assert refused.headers["access-control-allow-origin"] == PAGE
    assert "access-control-allow-credentials" not in refused.headers

    sent = {"platformId": "site", "name": "W", "hostname": "app.example.test"}
    made = (await plain.json("POST", "/v1/project/platforms/web", sent)).json
    assert (made["type"], made["hostname"]) == ("web", "app.example.test")

    allowed = await page.get("/v1/functions/runtimes")
    assert allowed.status == 200
    assert allowed.headers["access-control-allow-credentials"] == "true"
    await user(plain, "ada")
    ada = (await signed_in(plain, "ada")).with_(origin=PAGE)
    assert (await ada.get("/v1/account")).status == 200
    assert (await plain.get("/v1/project/platforms")).json["total"] == 1
    assert (await plain.get("/v1/project/platforms/site")).json == made
    again = await plain.post("/v1/project/platforms/web", platformId="site", name="W", hostname="x.test")
    assert again.error == (409, "platform_already_exists")
    assert (await plain.delete("/v1/project/platforms/site")).status == 204
    assert (await plain.delete("/v1/project/platforms/site")).error == (404, "platform_not_found")
    assert (await ada.get("/v1/account")).error == (403, "general_unknown_origin")


async def test_foreign_page_cannot_use_a_cookie(plain: Client) -> None:
    await user(plain, "ada")
    ada = await signed_in(plain, "ada")
    cookie = f"a_session_p1={ada.headers['x-appwrite-session']}"
    page = ada.with_(x_appwrite_session=None, cookie=cookie, origin="https://evil.test")

    assert (await page.delete("/v1/account/sessions")).error == (403, "general_unknown_origin")
    assert (await ada.get("/v1/account")).status == 200
    unnamed = page.with_(x_appwrite_project=None, cookie=cookie.replace("p1", "console"))
    assert (await unnamed.post("/v1/projects", name="x")).error == (403, "general_unknown_origin")


async def test_keys_call_from_any_page_and_pages_of_the_instance_from_home(plain: Client, anonymous: Client) -> None:
    assert (await plain.with_(origin=PAGE).get("/v1/functions")).status == 200
    assert (
        await plain.with_(x_appwrite_key=None, origin="http://annals.test").get("/v1/functions/runtimes")
    ).status == 200
    assert (await anonymous.with_(origin=PAGE).get("/v1/functions/runtimes")).status == 200


@pytest.mark.parametrize(
    ("origin", "platform", "known"),
    [
        ("https://app.test", "app.test", True),
        ("https://app.test:8443", "APP.test", True),
        ("https://sub.app.test", "app.test", False),
        ("https://sub.app.test", "*.app.test", True),
        ("https://app.test", "*.app.test", False),
        ("https://evilapp.test", "*.app.test", False),
        ("https://anything.test", "*", True),
        ("null", "*", False),
        ("http://[::1", "*", False),
        ("", "*", False),
    ],
)
def test_platform_names_a_host_or_all_below_one(origin: str, platform: str, known: bool) -> None:
    assert cors.is_known(origin, ["own.test"], [platform]) is known
    assert cors.is_known("https://own.test", ["own.test"], [])

"""The page at `/docs` in a browser, against a running instance."""

from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Page, expect, sync_playwright

from tests.api.browser import program
from tests.instance import AnnalsInstance

PAGE_SECONDS = 120
"""The time limit of the page: a busy machine is slow to render 150 operations."""

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def page(annals_instance: AnnalsInstance) -> Iterator[Page]:
    browser = program()
    if browser is None:
        pytest.skip("this machine has no Chromium")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox", "--disable-gpu"])
        try:
            page = opened.new_page()
            page.set_default_timeout(PAGE_SECONDS * 1000)
            page.goto(annals_instance.endpoint.removesuffix("/v1") + "/docs")
            yield page
        finally:
            opened.close()


def operations(instance: AnnalsInstance) -> int:
    document = httpx.get(instance.endpoint.removesuffix("/v1") + "/openapi.json", timeout=60).json()
    return sum(len(methods) for methods in document["paths"].values())


def test_page_lists_every_operation_of_the_document(page: Page, annals_instance: AnnalsInstance) -> None:
    expect(page.locator(".opblock")).to_have_count(operations(annals_instance), timeout=PAGE_SECONDS * 1000)
    assert page.locator(".opblock").count() > 100
    assert page.get_by_text("No API definition provided").count() == 0


def test_operation_runs_from_the_page_with_a_project_key(page: Page, annals_instance: AnnalsInstance) -> None:
    page.get_by_role("button", name="Authorize").first.click()
    for scheme, value in (("Project", annals_instance.project), ("Key", annals_instance.key)):
        form = page.locator(".auth-container", has=page.get_by_role("heading", name=f"{scheme} (apiKey)"))
        form.get_by_role("textbox").fill(value)
        form.get_by_role("button", name="Apply").or_(form.get_by_role("button", name="Authorize")).click()
    page.locator(".modal-ux .close-modal").click()

    operation = page.locator("#operations-functions-functionsList")
    operation.locator(".opblock-summary-control").click()
    operation.get_by_role("button", name="Try it out").click()
    operation.get_by_role("button", name="Execute").click()

    answered = operation.locator(".live-responses-table .response").first
    expect(answered.locator(".response-col_status")).to_contain_text("200", timeout=PAGE_SECONDS * 1000)
    expect(answered).to_contain_text('"total"')

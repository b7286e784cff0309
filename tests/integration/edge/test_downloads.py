"""Downloads, whole and by range (behaviours.md E)."""

import pytest

from annals.app.services import Services
from tests.integration.edge import given
from tests.integration.edge.client import Client


@pytest.mark.behaviours(85, 86, 87)
async def test_deployment_s_files_are_downloaded(services: Services, key: Client) -> None:
    function_id = await given.function(key)
    deployment_id = await given.upload(key, function_id)

    assert (await given.download(key, function_id, deployment_id, type="output")).error == (404, "deployment_not_found")
    await given.built(services, "p1", deployment_id)
    source = await given.download(key, function_id, deployment_id)
    output = await given.download(key, function_id, deployment_id, type="output")

    assert (source.status, source.body) == (200, given.SOURCE)
    assert source.headers["content-type"] == "application/gzip"
    assert source.headers["content-disposition"] == f'attachment; filename="{deployment_id}-source.tar.gz"'
    assert source.headers["content-length"] == str(len(given.SOURCE))
    assert source.headers["cache-control"] == "private, max-age=3888000"
    assert output.body == b"built"
    newest = key.headers.get("x-appwrite-response-format") == "2.5.0"
    assert output.headers["content-type"] == ("application/octet-stream" if newest else "application/gzip")
    tail = "output-code.tar.gz" if newest else "output.tar.gz"
    assert output.headers["content-disposition"] == f'attachment; filename="{deployment_id}-{tail}"'
    assert (await given.download(key, function_id, deployment_id, type="foo")).error[0] == 400


async def test_download_by_range_answers_the_range(plain: Client) -> None:
    function_id = await given.function(plain)
    deployment_id = await given.upload(plain, function_id)
    size = len(given.SOURCE)

    part = await given.download(plain.with_(range="bytes=2-5"), function_id, deployment_id)
    assert (part.status, part.body) == (206, given.SOURCE[2:6])
    assert part.headers["content-range"] == f"bytes 2-5/{size}"
    assert (part.headers["accept-ranges"], part.headers["content-length"]) == ("bytes", "4")
    open_end = await given.download(plain.with_(range="bytes=4-"), function_id, deployment_id)
    assert open_end.body == given.SOURCE[4:]
    for header in ("items=0-5", "bytes=5-5", f"bytes=0-{size}", "bytes=-5", "bytes=0-1,3-4"):
        refused = await given.download(plain.with_(range=header), function_id, deployment_id)
        assert refused.error == (416, "storage_invalid_range")


async def test_download_needs_a_key(plain: Client, anonymous: Client) -> None:
    function_id = await given.function(plain)
    deployment_id = await given.upload(plain, function_id)
    guest = anonymous.with_(x_appwrite_project="p1")

    assert (await given.download(guest, function_id, deployment_id)).error == (401, "general_unauthorized_scope")
    newest = guest.with_(x_appwrite_response_format="2.5.0")
    assert (await given.download(newest, function_id, deployment_id)).error == (401, "user_unauthorized")

"""Answers compared with recorded ones of the reference, in each API version, texts included."""

from typing import Any

import pytest

from annals.app.deployments.ranges import CHUNK
from tests.integration.edge import given
from tests.integration.edge.client import Client, dumps

NEWEST = "2.5.0"
FORMAT = "x-appwrite-response-format"


def is_newest(client: Client) -> bool:
    return client.headers.get(FORMAT) == NEWEST


async def test_chunked_upload_has_its_whole_size_from_the_first_chunk_on(keys: list[Client]) -> None:
    size = CHUNK + 10
    for key in keys:
        path = f"/v1/functions/{await given.function(key)}/deployments"

        begun = await key.upload(
            path, {"activate": "true"}, file=bytes(CHUNK), content_range=f"bytes 0-{CHUNK - 1}/{size}"
        )

        assert begun.status == 202
        [listed] = (await key.get(path, [given.query("equal", "sourceSize", size)])).json["deployments"]
        shown = (await key.get(f"{path}/{begun.json['$id']}")).json
        for deployment in (begun.json, listed, shown):
            assert (deployment["sourceSize"], deployment["totalSize"]) == (size, size)
        assert (await key.get(path, [given.query("equal", "totalSize", size)])).json["total"] == 1
        assert (await key.get(path, [given.query("equal", "sourceSize", 0)])).json["total"] == 0
        usage = (await key.get("/v1/functions/usage")).json
        assert usage["deploymentsStorageTotal"] == 0  # no source is stored yet


@pytest.mark.parametrize(
    "header",
    [
        "bytes 0-5242879/30000001",
        "bytes 1-2/30000001",
        "bytes 9-5/99999999999999999999",
        "bytes 0-30000000/30000001",
        "bytes 99999999999999999999-5/30000001",
    ],
)
async def test_total_over_the_limit_is_refused_before_the_range(keys: list[Client], header: str) -> None:
    for key in keys:
        path = f"/v1/functions/{await given.function(key)}/deployments"

        reply = await key.upload(path, {"activate": "true"}, file=b"part", content_range=header)

        kind = "deployment_invalid_file_size" if is_newest(key) else "storage_invalid_file_size"
        assert reply.error == (400, kind)
        other_name = await key.upload(path, {"activate": "true"}, file=b"p", name="a.zip", content_range=header)
        assert other_name.error == (400, "storage_file_type_unsupported")


async def test_total_within_the_limit_leaves_the_range_to_be_validated(plain: Client) -> None:
    path = f"/v1/functions/{await given.function(plain)}/deployments"

    for header in ("bytes 1-2/30000000", "bytes 9-5/10", "items 0-9/99999999999"):
        reply = await plain.upload(path, {"activate": "true"}, file=b"part", content_range=header)
        assert reply.error == (400, "storage_invalid_content_range")


@pytest.mark.parametrize("key_in_brackets", ["a", "", "0", "-1", "x y", "7"])
async def test_any_key_in_brackets_adds_to_a_list(keys: list[Client], key_in_brackets: str) -> None:
    await given.function(keys[0], name="one")
    await given.function(keys[0], name="two")
    query = dumps(given.query("equal", "name", "two"))

    for key in keys:
        reply = await key.get("/v1/functions", **{f"queries[{key_in_brackets}]": query})
        assert [function["name"] for function in reply.json["functions"]] == ["two"]
        both = await key.get("/v1/functions", **{f"queries[{key_in_brackets}]": query, "queries[b]": '{"method":"x"}'})
        assert both.error == (400, "general_argument_invalid")
    body = (
        f"functionId=unique()&name=n&runtime=node-22&execute[{key_in_brackets}]=any&events[{key_in_brackets}]=users.*"
    )
    made = await keys[0].send(
        "POST", "/v1/functions", content_type="application/x-www-form-urlencoded", body=body.encode()
    )
    assert (made.json["execute"], made.json["events"]) == (["any"], ["users.*"])


@pytest.mark.parametrize(("method", "scope"), [("GET", "read"), ("POST", "write")])
async def test_missing_scope_has_the_name_of_the_api_version(keys: list[Client], method: str, scope: str) -> None:
    for key in keys:
        reply = await key.with_(x_appwrite_key="p1-none").send(method, "/v1/functions/f/executions")

        named = f'"executions.{scope}","execution.{scope}"' if is_newest(key) else f'"execution.{scope}"'
        assert reply.error == (401, "general_unauthorized_scope")
        assert reply.message == f"app.p1@service.annals.test (role: applications) missing scopes ([{named}])"
        other = await key.with_(x_appwrite_key="p1-none").get("/v1/functions")
        assert other.message.endswith('missing scopes (["functions.read"])')


@pytest.mark.parametrize("header", ["nonsense", "2.5", "v2.5.0", "latest", "1", "-1.0.0"])
async def test_invalid_response_format_counts_as_missing(plain: Client, header: str) -> None:
    function_id = await given.function(plain)
    without = await plain.get(f"/v1/functions/{function_id}")

    reply = await plain.with_(x_appwrite_response_format=header).get(f"/v1/functions/{function_id}")

    assert reply.json == without.json
    assert {"specification", "buildSpecification", "deploymentId"} <= set(reply.json)


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("name", "Value must be a valid string and at least 1 chars and no longer than 128 chars"),
        (
            "functionId",
            "Parameter must contain at most 36 chars. Valid chars are a-z, A-Z, 0-9, period, hyphen, and underscore."
            " Can't start with a special char",
        ),
        ("runtime", "Value must be one of (node-14.5, "),
    ],
)
async def test_null_for_a_required_parameter_is_answered_by_its_validator(
    keys: list[Client], field: str, text: str
) -> None:
    for key in keys:
        sent = {"functionId": "unique()", "name": "n", "runtime": "node-22", field: None}
        reply = await key.json("POST", "/v1/functions", sent)

        assert reply.error == (400, "general_argument_invalid")
        assert reply.message.startswith(f"Invalid `{field}` param: {text}")
        del sent[field]
        assert (await key.json("POST", "/v1/functions", sent)).message == f'Param "{field}" is not optional.'


NULLABLE_TEXT = "Value must be a valid string and {}no longer than {} chars or null"


@pytest.mark.parametrize(
    ("method", "path", "sent", "text"),
    [
        ("POST", "executions", {"scheduledAt": 5}, NULLABLE_TEXT.format("at least 1 chars and ", 100)),
        ("POST", "deployments", {"entrypoint": 5}, NULLABLE_TEXT.format("at least 1 chars and ", 1028)),
        ("POST", "deployments", {"commands": 5}, NULLABLE_TEXT.format("", 8192)),
        ("PUT", "", {"name": "n", "providerRepositoryId": 5}, NULLABLE_TEXT.format("", 128)),
        ("PUT", "variables/v", {"key": "K", "value": 5}, NULLABLE_TEXT.format("", 8192)),
        ("PUT", "variables/v", {"key": "K", "secret": 5}, "Value must be a valid boolean or null"),
    ],
    ids=str,
)
async def test_error_of_a_nullable_parameter_mentions_null(
    keys: list[Client], method: str, path: str, sent: dict[str, Any], text: str
) -> None:
    for key in keys:
        reply = await key.json(method, f"/v1/functions/f/{path}".rstrip("/"), sent)

        assert reply.error == (400, "general_argument_invalid")
        assert reply.message == f"Invalid `{[*sent][-1]}` param: {text}"


@pytest.mark.parametrize("method", ["regex", "elemMatch", "nope"])
async def test_unknown_query_method_is_named(keys: list[Client], method: str) -> None:
    for key in keys:
        reply = await key.get("/v1/functions", [given.query(method, "name", "a")])

        assert reply.error == (400, "general_argument_invalid")
        assert reply.message == f"Invalid `queries` param: Invalid query: Invalid query method: {method}"

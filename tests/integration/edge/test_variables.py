"""Variables over the wire (behaviours.md I)."""

from typing import Any

import pytest

from annals.app.services import Services
from tests.integration.edge import given
from tests.integration.edge.client import Client, Reply


async def create(client: Client, function_id: str, **fields: Any) -> Reply:
    newest = client.headers.get("x-appwrite-response-format") == "2.5.0"
    values = {**({"variableId": "unique()"} if newest else {}), **fields}
    return await client.json("POST", f"/v1/functions/{function_id}/variables", values)


async def made(client: Client, function_id: str, **fields: Any) -> str:
    reply = await create(client, function_id, **{"key": "A", "value": "1", **fields})
    assert reply.status == 201, reply.body
    return str(reply.json["$id"])


@pytest.mark.behaviours(135, 136, 139, 148, 149, 181)
async def test_variable_shows_its_value_unless_it_is_secret(services: Services, key: Client) -> None:
    function_id = await given.function(key)

    plain = await create(key, function_id, key="A", value="1", secret=False)
    secret = await create(key, function_id, key="B", value="hidden")
    empty = await create(key, function_id, key="C", value="", secret=False)

    assert plain.status == secret.status == empty.status == 201
    assert {name: plain.json[name] for name in ("key", "value", "secret", "resourceType", "resourceId")} == {
        "key": "A",
        "value": "1",
        "secret": False,
        "resourceType": "function",
        "resourceId": function_id,
    }
    assert (secret.json["secret"], secret.json["value"]) == (True, "")
    function = (await key.get(f"/v1/functions/{function_id}")).json
    assert function["live"] is False
    assert function["vars"] == [plain.json, secret.json, empty.json]
    stored = await services.database.rows("SELECT convert_from(state, 'UTF8') AS state FROM events")
    assert not any("hidden" in row["state"] for row in stored)


@pytest.mark.behaviours(137, 143)
async def test_variable_key_is_unique_in_a_function(key: Client) -> None:
    function_id = await given.function(key)
    await made(key, function_id, key="A")
    other = await made(key, function_id, key="B")

    assert (await create(key, function_id, key="A", value="2")).error == (409, "variable_already_exists")
    reply = await key.put(f"/v1/functions/{function_id}/variables/{other}", key="A")
    assert reply.error == (409, "variable_already_exists")
    assert (await create(key, await given.function(key), key="A", value="2")).status == 201
    assert (await create(key, function_id, key="a", value="2")).status == 201


async def test_variable_id_is_unique_in_a_project(plain: Client) -> None:
    await made(plain, await given.function(plain), variableId="v")

    reply = await create(plain, await given.function(plain), key="B", value="1", variableId="v")
    assert reply.error == (409, "variable_already_exists")
    assert (await plain.get("/v1/functions")).json["total"] == 2


@pytest.mark.behaviours(138)
@pytest.mark.parametrize(
    "fields",
    [{"key": "x" * 256, "value": "1"}, {"key": "A", "value": "x" * 8193}, {"value": "1"}, {"key": "A"}, {"key": ""}],
    ids=lambda fields: str(sorted(fields)),
)
async def test_invalid_variables_are_refused(key: Client, fields: dict[str, Any]) -> None:
    function_id = await given.function(key)
    assert (await create(key, function_id, **fields)).error == (400, "general_argument_invalid")


async def test_longest_variable_is_taken(plain: Client) -> None:
    function_id = await given.function(plain)
    reply = await create(plain, function_id, key="k" * 255, value="v" * 8192, secret=False)

    assert reply.json["value"] == "v" * 8192


async def test_newest_version_creates_variables_with_ids(plain: Client) -> None:
    function_id = await given.function(plain)
    newest = plain.with_(x_appwrite_response_format="2.5.0")
    reply = await newest.json("POST", f"/v1/functions/{function_id}/variables", {"key": "A", "value": "1"})

    assert reply.message == 'Param "variableId" is not optional.'


@pytest.mark.behaviours(140, 144, 145)
async def test_variable_belongs_to_its_function(key: Client) -> None:
    function_id, other = await given.function(key), await given.function(key)
    variable_id = await made(key, function_id)

    assert (await key.get(f"/v1/functions/{function_id}/variables/{variable_id}")).json["value"] == ""
    for path in (f"{other}/variables/{variable_id}", f"{function_id}/variables/nope"):
        for reply in (
            await key.get(f"/v1/functions/{path}"),
            await key.put(f"/v1/functions/{path}", key="B"),
            await key.delete(f"/v1/functions/{path}"),
        ):
            assert reply.error == (404, "variable_not_found")
    assert (await key.get("/v1/functions/nope/variables/v")).error == (404, "function_not_found")


@pytest.mark.behaviours(141, 142)
async def test_update_only_changes_the_named_fields(key: Client) -> None:
    function_id = await given.function(key)
    path = f"/v1/functions/{function_id}/variables/{await made(key, function_id, secret=False)}"

    renamed = await key.put(path, key="B")
    assert (renamed.json["key"], renamed.json["value"]) == ("B", "1")
    hidden = await key.put(path, key="B", secret=True)
    assert (hidden.json["secret"], hidden.json["value"]) == (True, "")
    assert (await key.put(path, key="B", secret=False)).error == (400, "variable_cannot_unset_secret")
    assert (await key.put(path, key="C", value="2")).json["key"] == "C"


async def test_update_without_fields_is_refused(plain: Client) -> None:
    function_id = await given.function(plain)
    path = f"/v1/functions/{function_id}/variables/{await made(plain, function_id)}"
    newest = plain.with_(x_appwrite_response_format="2.5.0")

    assert (await plain.put(path, value="2")).message == 'Param "key" is not optional.'
    assert (await newest.put(path, value="2")).status == 200
    assert (await newest.put(path)).error == (400, "general_argument_invalid")
    assert (await newest.put(f"/v1/functions/{function_id}/variables/nope")).error == (404, "variable_not_found")


@pytest.mark.behaviours(146, 147)
async def test_variables_are_listed_in_insertion_order(key: Client) -> None:
    function_id = await given.function(key)
    ids = [await made(key, function_id, key=name) for name in ("C", "A", "B")]
    path = f"/v1/functions/{function_id}/variables"

    reply = await key.get(path)
    assert given.ids(reply, "variables") == ids
    assert reply.json["total"] == 3
    gone = await key.delete(f"{path}/{ids[1]}")
    assert (gone.status, gone.body, gone.headers["content-type"]) == (204, b"", "text/html")
    assert given.ids(await key.get(path), "variables") == [ids[0], ids[2]]
    assert len((await key.get(f"/v1/functions/{function_id}")).json["vars"]) == 2


async def test_newest_version_pages_variables(plain: Client) -> None:
    function_id = await given.function(plain)
    ids = [await made(plain, function_id, key=f"K{number:02}") for number in range(27)]
    path = f"/v1/functions/{function_id}/variables"
    newest = plain.with_(x_appwrite_response_format="2.5.0")

    assert len((await plain.get(path)).json["variables"]) == 27
    assert len((await newest.get(path)).json["variables"]) == 25
    after = await newest.get(path, [{"method": "cursorAfter", "values": [ids[25]]}])
    assert given.ids(after, "variables") == [ids[26]]
    found = await newest.get(path, [{"method": "equal", "attribute": "key", "values": ["K03"]}])
    assert given.ids(found, "variables") == [ids[3]]
    foreign = await made(plain, await given.function(plain))
    cursor = await newest.get(path, [{"method": "cursorAfter", "values": [foreign]}])
    assert cursor.error == (400, "general_cursor_not_found")

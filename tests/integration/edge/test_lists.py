"""Lists: queries, pages, search, totals (behaviours.md J)."""

from typing import Any

import pytest

from annals.app.services import Services
from tests.integration.edge import given
from tests.integration.edge.client import Client

PATH = "/v1/functions"


async def names(client: Client, *queries: dict[str, Any], **parameters: str) -> list[str]:
    reply = await client.get(PATH, list(queries), **parameters)
    assert reply.status == 200, reply.body
    return [row["name"] for row in reply.json["functions"]]


async def three(client: Client) -> list[str]:
    """Create functions a, b and c; return their ids."""
    return [
        await given.function(client, name="a", timeout=10, schedule="0 0 * * *"),
        await given.function(client, name="b", timeout=20, enabled=False),
        await given.function(client, name="c", timeout=10, runtime="python-3.11", commands="make it"),
    ]


@pytest.mark.behaviours(151, 152, 153)
async def test_pages_have_25_rows_and_totals_count_all(key: Client) -> None:
    for number in range(30):
        await given.function(key, name=f"f{number:02}")

    everything = await key.get(PATH)
    assert len(everything.json["functions"]) == 25
    assert everything.json["total"] == 30
    first = await key.get(PATH, [given.query("limit", None, 1)])
    assert [row["name"] for row in first.json["functions"]] == ["f00"]
    assert first.json["total"] == 30
    assert await names(key, given.query("limit", None, 1), given.query("offset", None, 1)) == ["f01"]
    assert await names(key, given.query("limit", None, "100"), given.query("offset", None, 29)) == ["f29"]


@pytest.mark.behaviours(154, 155, 156)
async def test_cursor_continues_after_its_row(key: Client) -> None:
    ids = await three(key)

    assert await names(key, given.query("cursorAfter", None, ids[0])) == ["b", "c"]
    assert await names(key, given.query("cursorBefore", None, ids[2])) == ["a", "b"]
    assert await names(key, given.query("cursorBefore", None, ids[2]), given.query("limit", None, 1)) == ["b"]
    reply = await key.get(PATH, [given.query("cursorAfter", None, "unknown")])
    assert reply.error == (400, "general_cursor_not_found")
    assert reply.message == "Function 'unknown' for the 'cursor' value not found."
    total = (await key.get(PATH, [given.query("cursorAfter", None, ids[1])])).json["total"]
    assert total == 3


@pytest.mark.behaviours(157)
async def test_equal_rows_are_in_insertion_order(key: Client) -> None:
    await three(key)

    assert await names(key, given.query("orderDesc", "$createdAt")) == ["c", "b", "a"]
    assert await names(key, given.query("orderAsc", "timeout")) == ["a", "c", "b"]
    assert await names(key, given.query("orderDesc", "timeout")) == ["b", "a", "c"]
    assert await names(key, given.query("orderDesc", "")) == ["c", "b", "a"]
    assert sorted(await names(key, given.query("orderRandom"))) == ["a", "b", "c"]


async def test_cursor_follows_the_order(plain: Client) -> None:
    ids = await three(plain)
    order = given.query("orderDesc", "timeout")

    assert await names(plain, order, given.query("cursorAfter", None, ids[1])) == ["a", "c"]
    assert await names(plain, order, given.query("cursorBefore", None, ids[2])) == ["b", "a"]
    assert await names(plain, order, given.query("cursorAfter", None, ids[2])) == []


@pytest.mark.behaviours(158, 159)
@pytest.mark.parametrize(
    ("asked", "found"),
    [
        (given.query("equal", "name", "a", "b"), "ab"),
        (given.query("equal", "enabled", True), "ac"),
        (given.query("equal", "timeout", 10), "ac"),
        (given.query("equal", "timeout", 10.0, 20), "abc"),
        (given.query("notEqual", "name", "a"), "bc"),
        (given.query("lessThan", "timeout", 20), "ac"),
        (given.query("lessThanEqual", "name", "b"), "ab"),
        (given.query("greaterThan", "timeout", 10), "b"),
        (given.query("greaterThanEqual", "$createdAt", "2020-01-01"), "abc"),
        (given.query("between", "timeout", 15, 25), "b"),
        (given.query("notBetween", "timeout", 15, 25), "ac"),
        (given.query("isNull", "name"), ""),
        (given.query("isNotNull", "name"), "abc"),
        (given.query("isNull", "scheduleNext"), "abc"),
        (given.query("startsWith", "runtime", "node"), "ab"),
        (given.query("notStartsWith", "runtime", "node"), "c"),
        (given.query("endsWith", "runtime", "-22"), "ab"),
        (given.query("notEndsWith", "runtime", "-22"), "c"),
        (given.query("contains", "commands", "ke i"), "c"),
        (given.query("contains", "commands", "%", "_"), ""),
        (given.query("notContains", "runtime", "node"), "c"),
        (given.query("containsAny", "runtime", "node", "python"), "abc"),
        (given.query("containsAll", "runtime", "node", "22"), "ab"),
        (given.query("equal", "schedule", "0 0 * * *"), "a"),
        (given.query("equal", "deploymentId", ""), "abc"),
        (
            {"method": "or", "values": [given.query("equal", "name", "a"), given.query("equal", "timeout", 20)]},
            "ab",
        ),
        (
            {"method": "and", "values": [given.query("equal", "timeout", 10), given.query("notEqual", "name", "a")]},
            "c",
        ),
        (
            {
                "method": "or",
                "values": [
                    given.query("equal", "name", "b"),
                    {
                        "method": "and",
                        "values": [given.query("equal", "enabled", True), given.query("equal", "name", "c")],
                    },
                ],
            },
            "bc",
        ),
    ],
    ids=str,
)
async def test_filters_select_matching_rows(plain: Client, asked: dict[str, Any], found: str) -> None:
    await three(plain)
    reply = await plain.get(PATH, [asked])

    assert reply.status == 200, reply.body
    assert [row["name"] for row in reply.json["functions"]] == list(found)
    assert reply.json["total"] == len(found)


@pytest.mark.behaviours(159, 160, 161, 162, 163, 169)
@pytest.mark.parametrize(
    "asked",
    [
        given.query("equal", "enabled", "true"),
        given.query("equal", "timeout", "15"),
        given.query("equal", "nope", 1),
        'equal("name", ["a"])',
        given.query("limit", None, 0),
        given.query("limit", None, -1),
        given.query("offset", None, -1),
        given.query("select", None, "name"),
        given.query("equal", "name", "nul\0"),
    ],
    ids=str,
)
async def test_invalid_queries_are_refused(key: Client, asked: Any) -> None:
    assert (await key.get(PATH, [asked])).error == (400, "general_argument_invalid")
    assert (await key.get(PATH, queries="x")).status == 400


@pytest.mark.behaviours(161)
async def test_unknown_attribute_is_named(plain: Client) -> None:
    assert "nope" in (await plain.get(PATH, [given.query("equal", "nope", 1)])).message


@pytest.mark.behaviours(164)
async def test_search_query_has_no_index(key: Client) -> None:
    assert (await key.get(PATH, [given.query("search", "name", "x")])).error == (400, "general_query_invalid")


@pytest.mark.behaviours(165, 166)
async def test_search_matches_words_of_id_name_and_runtime(key: Client) -> None:
    await given.function(key, functionId="my.fn_1-A", name="Hello wörld")
    await given.function(key, functionId="other", name="goodbye", runtime="python-3.11")

    for words in ("my.fn_1-A", "HELLO", "wörld", "node-22", "nothing hello", '"hello wörld"'):
        assert await names(key, search=words) == ["Hello wörld"]
    assert await names(key, search="hello goodbye") == ["Hello wörld", "goodbye"]
    assert await names(key, search='"wörld hello"') == []
    assert await names(key, search="hell") == []
    assert (await key.get(PATH, search="hello")).json["total"] == 1
    assert (await key.get(PATH, search="")).error == (400, "general_argument_invalid")
    assert (await key.get(PATH, search="x" * 257)).error == (400, "general_argument_invalid")


@pytest.mark.behaviours(167, 168)
async def test_deployments_are_selected_and_not_searched(key: Client) -> None:
    function_id = await given.function(key)
    await given.upload(key, function_id)
    path = f"{PATH}/{function_id}/deployments"

    assert (await key.get(path, search="x")).error == (400, "general_query_invalid")
    assert (await key.get(f"{PATH}/nope/deployments", search="x")).error == (404, "function_not_found")
    (row,) = (await key.get(path, [given.query("select", None, "status")])).json["deployments"]
    assert set(row) == {"$id", "$createdAt", "$updatedAt", "status"}
    (row,) = (await key.get(path, [given.query("select", None, "*")])).json["deployments"]
    assert "providerBranch" in row


@pytest.mark.behaviours(169)
async def test_only_deployments_are_selected(services: Services, key: Client) -> None:
    function_id = await given.function(key)
    reply = await key.get(f"{PATH}/{function_id}/executions", [given.query("select", None, "status")])
    assert reply.error == (400, "general_argument_invalid")


@pytest.mark.behaviours(170)
@pytest.mark.parametrize("total", ["0", "false"])
async def test_total_can_be_left_out(key: Client, total: str) -> None:
    await three(key)
    reply = await key.get(PATH, total=total)

    assert reply.json["total"] == 0
    assert len(reply.json["functions"]) == 3


@pytest.mark.behaviours(171)
async def test_deployments_are_filtered_by_size_and_type(services: Services, key: Client) -> None:
    function_id = await given.running_function(services, key)
    path = f"{PATH}/{function_id}/deployments"

    for asked, count in (
        (given.query("greaterThan", "sourceSize", 0), 1),
        (given.query("equal", "type", "manual"), 1),
        (given.query("equal", "type", "vcs"), 0),
        (given.query("equal", "status", "ready"), 1),
        (given.query("greaterThan", "totalSize", len(given.SOURCE)), 1),
        (given.query("equal", "activate", True), 1),
    ):
        assert (await key.get(path, [asked])).json["total"] == count


async def test_old_versions_have_another_name_for_an_attribute(plain: Client) -> None:
    await three(plain)
    asked = [given.query("equal", "deployment", "")]

    assert len(await names(plain.with_(x_appwrite_response_format="1.6.0"), *asked)) == 3
    assert (await plain.get(PATH, asked)).error == (400, "general_argument_invalid")


async def test_list_shows_a_write_at_once(plain: Client) -> None:
    """Rows are cached between requests: each kind of change must be visible at once."""
    function_id = await given.function(plain, name="a")
    assert await names(plain) == ["a"]
    await plain.put(f"{PATH}/{function_id}", name="b")
    assert await names(plain) == ["b"]
    await plain.json("POST", f"{PATH}/{function_id}/variables", {"key": "A", "value": "1", "secret": False})
    (row,) = (await plain.get(PATH)).json["functions"]
    assert row["vars"][0]["value"] == "1"
    await given.upload(plain, function_id)
    (row,) = (await plain.get(PATH)).json["functions"]
    assert row["latestDeploymentStatus"] == "waiting"

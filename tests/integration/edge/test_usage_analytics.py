"""`GET /v1/usage` and the executions behind its figures, over the wire."""

import csv
import io
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode, urlsplit

import msgspec
import pytest

from annals.app.edge.edge import Edge
from annals.app.services import Services
from tests.integration.edge import given
from tests.integration.edge.client import Client, Reply
from tests.integration.edge.test_as_of import follow

USAGE = "/v1/usage"


async def ask(client: Client, path: str = USAGE, **asked: str | list[str]) -> Reply:
    """Send a request with lists as brackets: once for each word."""
    pairs = {f"{name}[]" if isinstance(value, list) else name: value for name, value in asked.items()}
    return await client.send("GET", path, query=urlencode(pairs, doseq=True))


async def some_calls(services: Services, client: Client, calls: int = 3) -> str:
    function_id = await given.running_function(services, client)
    for _ in range(calls):
        assert (await client.post(f"/v1/functions/{function_id}/executions")).status == 201
    return function_id


async def test_default_usage_is_the_last_day_by_the_hour(services: Services, plain: Client) -> None:
    await some_calls(services, plain)

    reply = await plain.get(USAGE)

    assert reply.status == 200
    assert (reply.json["interval"], reply.json["timezone"], reply.json["measures"]) == ("hour", "UTC", ["count"])
    assert reply.json["total"]["total"] == {"count": 3}
    assert len(reply.json["total"]["series"]) in {24, 25}
    assert sum(point["count"] for point in reply.json["total"]["series"]) == 3
    assert reply.json["groups"] == []
    assert int(reply.headers["x-annals-position"]) > 0


async def test_groups_measures_and_the_former_period(services: Services, plain: Client) -> None:
    function_id = await some_calls(services, plain)
    await some_calls(services, plain, calls=1)
    words = ["count", "errors", "duration", "p95", "builds", "storage"]

    reply = await ask(plain, groupBy=["function"], measures=words, interval="total", compare="true", top="1")

    (group,) = reply.json["groups"]
    assert group["key"] == {"function": function_id}
    assert group["total"] == {
        "count": 3, "errors": 0, "duration": 750, "p95": pytest.approx(250, rel=0.025), "builds": 1,
        "storage": len(given.SOURCE),
    }  # fmt: skip
    assert group["previous"] == {"count": 0, "errors": 0, "duration": 0, "p95": None, "builds": 0, "storage": 0}
    assert reply.json["other"]["total"]["count"] == 1


async def test_group_links_to_its_executions(services: Services, plain: Client) -> None:
    await some_calls(services, plain)
    function_id = await some_calls(services, plain, calls=2)
    reply = await ask(plain, groupBy=["function"], filters=["trigger:http"])
    group = next(group for group in reply.json["groups"] if group["key"]["function"] == function_id)

    address = urlsplit(group["executions"])
    listed = (await plain.send("GET", address.path, query=address.query)).json["executions"]
    first = (await plain.send("GET", address.path, query=f"{address.query}&limit=1")).json
    second = (await plain.send("GET", address.path, query=f"{address.query}&limit=1&cursor={first['cursor']}")).json

    assert len(listed) == group["total"]["count"] == 2
    assert [*first["executions"], *second["executions"]] == listed
    ids = given.ids(await plain.get(f"/v1/functions/{function_id}/executions"), "executions")
    assert {row["$id"] for row in listed} == set(ids)
    assert {(row["functionId"], row["duration"]) for row in listed} == {(function_id, 250)}


async def test_executions_behind_a_figure_are_shown_as_of_its_position(services: Services, plain: Client) -> None:
    function_id = await some_calls(services, plain, calls=2)
    path, since = f"{USAGE}/executions", (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    then = (await plain.get(path, **{"from": since})).json["executions"]
    position = await services.log.reader.position()
    await plain.post(f"/v1/functions/{function_id}/executions")
    await follow(services)

    later = (await plain.get(path, **{"from": since})).json["executions"]
    past = await plain.get(path, **{"from": since, "asOf": str(position)})
    first = await plain.get(path, **{"from": since, "asOf": str(then[0]["position"])})

    assert (len(then), len(later)) == (2, 3)
    assert past.json["executions"] == then
    assert int(past.headers["x-annals-position"]) == position
    assert first.json["executions"] == then[:1]
    future = await plain.get(path, asOf=str(position + 1000))
    assert future.error == (400, "general_argument_invalid")
    assert "future" in future.message
    without = plain.with_(x_appwrite_key="p1-read")
    assert (await without.get(path, asOf=str(position))).error[0] == 401


async def test_usage_is_available_as_csv(services: Services, plain: Client) -> None:
    function_id = await some_calls(services, plain)
    reply = await ask(plain, groupBy=["function", "status"], measures=["count", "p50"], interval="day", format="csv")

    assert reply.headers["content-type"] == "text/csv; charset=UTF-8"
    rows = list(csv.DictReader(io.StringIO(reply.body.decode())))
    assert list(rows[0]) == ["date", "function", "status", "count", "p50"]
    assert sum(int(row["count"]) for row in rows) == 3
    assert {row["function"] for row in rows if row["count"] != "0"} == {function_id}


@pytest.mark.parametrize(
    ("sent", "word"),
    [
        ({"from": "yesterday"}, "from"),
        ({"from": "2026-05-02T00:00:00Z", "to": "2026-05-01T00:00:00Z"}, "before"),
        ({"interval": "fortnight"}, "interval"),
        ({"timezone": "Atlantis/Centre"}, "timezone"),
        ({"timezone": "../../etc/passwd"}, "timezone"),
        ({"groupBy[]": "colour"}, "groupBy"),
        ({"measures[]": "joy"}, "measures"),
        ({"filters[]": "status"}, "filters"),
        ({"filters[]": "colour:red"}, "filters"),
        ({"top": "0"}, "top"),
        ({"from": "2001-01-01T00:00:00Z", "interval": "quarter"}, "periods"),
        ({"interval": "minute", "from": "2001-01-01T00:00:00Z", "to": "2001-01-01T01:00:00Z"}, "Minutes"),
        ({"measures[]": "storage", "groupBy[]": "hour"}, "storage"),
        ({"from": "0001-01-01T00:00:00+14:00"}, "from"),
    ],
)
async def test_unanswerable_usage_queries_are_refused_with_a_sentence(
    plain: Client, sent: dict[str, str], word: str
) -> None:
    reply = await plain.get(USAGE, **sent)

    assert reply.error == (400, "general_argument_invalid")
    assert word in reply.json["message"]


async def test_minutes_are_shown_while_they_are_retained(services: Services, plain: Client) -> None:
    await some_calls(services, plain)
    since = (datetime.now(UTC) - timedelta(minutes=30)).isoformat()

    reply = await plain.get(USAGE, **{"interval": "minute", "from": since})

    assert len(reply.json["total"]["series"]) in {30, 31}
    assert reply.json["total"]["total"] == {"count": 3}


async def test_default_range_of_minutes_fits_a_retention_of_one_day(services: Services, plain: Client) -> None:
    services.settings = msgspec.structs.replace(services.settings, execution_retention_days=1)

    replies = [await plain.get(USAGE, interval="minute") for _ in range(20)]

    assert {reply.status for reply in replies} == {200}


async def test_usage_of_other_projects_is_not_readable(
    services: Services, edge: Edge, plain: Client, anonymous: Client
) -> None:
    await some_calls(services, plain)
    other = Client(edge, {"x-appwrite-project": "p2", "x-appwrite-key": "p2-all"})
    without = Client(edge, {"x-appwrite-project": "p1", "x-appwrite-key": "p1-none"})

    assert (await other.get(USAGE)).json["total"]["total"] == {"count": 0}
    assert (await other.get(f"{USAGE}/executions")).json == {"cursor": None, "executions": []}
    for path in (USAGE, f"{USAGE}/executions"):
        assert (await without.get(path)).error == (401, "general_unauthorized_scope")
        assert (await anonymous.get(path)).status in {401, 404}

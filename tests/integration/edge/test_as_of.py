"""`asOf`: the answers at a position stay the answers for that position."""

import random
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qsl, quote

import pytest

from annals.app.edge.edge import Edge
from annals.app.services import Services
from annals.projections.following import FOLLOWING
from annals.store.log.follower import Follower
from annals.store.postgres.listener import Listener
from tests.integration.edge import given
from tests.integration.edge.client import Client, Reply
from tests.routes import ENDPOINTS

STEPS = 50
FUNCTIONS = ["f1", "f2"]
CONTENTS = frozenset({"logs", "errors", "buildLogs"})


async def follow(services: Services) -> None:
    """Bring the followers up to the log's end, as a keeper does."""
    for name, following in FOLLOWING.items():
        follower = Follower(name, following.handle, services.log.reader, Listener(services.database))
        while await follower.catch_up():
            pass


class Life:
    """Random operations on a few functions over HTTP. Some are refused."""

    def __init__(self, services: Services, client: Client, chance: random.Random) -> None:
        self.services, self.client, self.chance = services, client, chance
        self.steps: list[Callable[[str, str], Awaitable[object]]] = [
            *[self.create, self.update, self.update, self.delete, self.add, self.add, self.change, self.remove],
            *[self.upload, self.upload, self.build, self.build, self.build, self.activate, self.drop],
            *[self.execute, self.execute, self.execute, self.later, self.forget],
        ]

    async def step(self) -> None:
        function = self.chance.choice(FUNCTIONS)
        await self.chance.choice(self.steps)(function, f"/v1/functions/{function}")

    async def create(self, function: str, _path: str) -> None:
        await self.client.post("/v1/functions", functionId=function, name="N", runtime="node-22", entrypoint="a.js")

    async def update(self, _function: str, path: str) -> None:
        await self.client.put(path, name=f"N{self.chance.random()}", timeout=self.chance.randrange(1, 9))

    async def delete(self, _function: str, path: str) -> None:
        if self.chance.random() < 0.4:
            await self.client.delete(path)

    async def add(self, function: str, path: str) -> None:
        number = self.chance.randrange(3)
        fields = {"variableId": f"{function}-{number}", "key": f"K{number}", "value": f"{self.chance.random()}"}
        await self.client.post(f"{path}/variables", **fields, secret=self.chance.random() < 0.5)

    async def change(self, function: str, path: str) -> None:
        variable = f"{function}-{self.chance.randrange(3)}"
        await self.client.put(f"{path}/variables/{variable}", key=f"L{variable[-1]}", value=f"{self.chance.random()}")

    async def remove(self, function: str, path: str) -> None:
        await self.client.delete(f"{path}/variables/{function}-{self.chance.randrange(3)}")

    async def upload(self, _function: str, path: str) -> None:
        fields = {"activate": self.chance.choice(["true", "false"])}
        await self.client.upload(f"{path}/deployments", fields, file=given.SOURCE)

    async def build(self, _function: str, path: str) -> None:
        waiting = [row for row in await self.rows(f"{path}/deployments", "deployments") if row["status"] == "waiting"]
        if waiting:
            await given.built(
                self.services, "p1", self.chance.choice(waiting)["$id"], succeeds=self.chance.random() < 0.8
            )

    async def activate(self, _function: str, path: str) -> None:
        for deployment in (await self.rows(f"{path}/deployments", "deployments"))[:1]:
            await self.client.patch(f"{path}/deployment", deploymentId=deployment["$id"])

    async def drop(self, _function: str, path: str) -> None:
        for deployment in (await self.rows(f"{path}/deployments", "deployments"))[:1]:
            await self.client.delete(f"{path}/deployments/{deployment['$id']}")

    async def execute(self, function: str, _path: str) -> None:
        await given.execute(self.client, function, path=f"/{self.chance.random()}")

    async def later(self, function: str, _path: str) -> None:
        await given.execute(self.client, function, async_=True)

    async def forget(self, _function: str, path: str) -> None:
        for execution in (await self.rows(f"{path}/executions", "executions"))[:1]:
            await self.client.delete(f"{path}/executions/{execution['$id']}")

    async def rows(self, path: str, name: str) -> list[Any]:
        reply = await self.client.get(path)
        return list(reply.json[name]) if reply.status == 200 else []


async def asked(client: Client, address: str, **more: str) -> Reply:
    path, _, query = address.partition("?")
    return await client.get(path, **dict(parse_qsl(query)), **more)


async def served(client: Client) -> dict[tuple[str, str], tuple[int, Any]]:
    """Everything that can be read, by path and position."""
    found: dict[tuple[str, str], tuple[int, Any]] = {}

    async def look(path: str) -> Any:
        reply = await asked(client, path)
        body = reply.json if reply.status == 200 else reply.error
        found[path, reply.headers.get("x-annals-position", "0")] = reply.status, body
        return body

    await look("/v1/functions/usage")
    await look("/v1/usage?interval=total&from=2026-01-01&to=2199-01-01&groupBy[]=function&measures[]=count")
    functions = await look("/v1/functions")
    for function in functions["functions"]:
        path = f"/v1/functions/{function['$id']}"
        await look(path)
        await look(f"{path}/usage")
        for name in ("variables", "deployments", "executions"):
            for row in (await look(f"{path}/{name}"))[name]:
                await look(f"{path}/{name}/{row['$id']}")
    return found


def with_gone_contents(body: Any, then: Any) -> Any:
    """Return the answer without contents that a later deletion removed. The rest of the record stays."""
    if isinstance(body, list) and isinstance(then, list):
        return [with_gone_contents(*pair) for pair in zip(body, then, strict=False)] + body[len(then) :]
    if isinstance(body, dict) and isinstance(then, dict):
        gone = {name for name in CONTENTS if then.get(name) == ""}
        return {name: "" if name in gone else with_gone_contents(value, then.get(name)) for name, value in body.items()}
    return body


@pytest.mark.parametrize(("api_version", "seed"), [("1.8.0", 0), ("2.5.0", 1)])
async def test_past_state_is_answered_as_it_was_served(
    services: Services, plain: Client, seed: int, api_version: str
) -> None:
    life = Life(services, plain, random.Random(seed))
    client = plain.with_(x_appwrite_response_format=api_version)
    known: dict[tuple[str, str], tuple[int, Any]] = {}
    for function in FUNCTIONS:
        await life.create(function, "")
    for _ in range(STEPS):
        await life.step()
        known |= await served(client)
    await follow(services)

    wrong = []
    for (path, position), (status, body) in known.items():
        reply = await asked(client, path, asOf=position)
        then = reply.json if reply.status == 200 else reply.error
        assert reply.headers["x-annals-position"] == position
        if (reply.status, then) != (status, with_gone_contents(body, then)):
            wrong.append((path, position, body, then))
    assert wrong == []
    assert len({position for _, position in known}) > 12
    assert any("executions/" in path for path, _ in known)


async def test_contents_are_shown_until_they_are_deleted(services: Services, plain: Client) -> None:
    function_id = await given.running_function(services, plain)
    execution = (await given.execute(plain, function_id)).json
    path, position = f"/v1/functions/{function_id}/executions/{execution['$id']}", await services.log.reader.position()
    await plain.put(f"/v1/functions/{function_id}", name="Later")
    await follow(services)

    assert (await plain.get(path, asOf=str(position))).json["logs"] == execution["logs"] != ""
    assert (await plain.get(f"{path}/logs/download", asOf=str(position))).body.decode() == execution["logs"]
    await plain.delete(path)
    await follow(services)
    then = (await plain.get(path, asOf=str(position))).json
    assert (then["status"], then["logs"]) == ("completed", "")


async def test_time_stands_for_the_last_position_before_it(services: Services, plain: Client) -> None:
    function_id = await given.function(plain, name="First")
    first = (await plain.get(f"/v1/functions/{function_id}")).json["$updatedAt"]
    while (await plain.put(f"/v1/functions/{function_id}", name="Second")).json["$updatedAt"] == first:
        pass
    await follow(services)

    for text in (first, first.replace("+00:00", "Z")):
        assert (await plain.get(f"/v1/functions/{function_id}", asOf=text)).json["name"] == "First"
    unescaped = await plain.send("GET", f"/v1/functions/{function_id}", query=f"asOf={quote(first, safe=':+')}")
    assert unescaped.json["name"] == "First"


async def test_queries_pages_and_totals_work_in_the_past(services: Services, plain: Client) -> None:
    for number in range(4):
        await given.function(plain, functionId=f"f{number}", name=f"N{number % 2}")
    position = (await plain.get("/v1/functions")).headers["x-annals-position"]
    await plain.delete("/v1/functions/f1")
    await plain.put("/v1/functions/f2", name="N1")
    await follow(services)

    def ask(*queries: Any, **more: str) -> Awaitable[Any]:
        return plain.get("/v1/functions", list(queries), asOf=position, **more)

    assert given.ids(await ask(given.query("equal", "name", "N0")), "functions") == ["f0", "f2"]
    page = await ask(given.query("cursorAfter", None, "f0"), given.query("limit", None, 2))
    assert given.ids(page, "functions") == ["f1", "f2"]
    assert page.json["total"] == 4
    assert given.ids(await ask(given.query("orderDesc", "name")), "functions") == ["f1", "f3", "f0", "f2"]
    assert given.ids(await ask(search="n1"), "functions") == ["f1", "f3"]
    assert (await ask(given.query("isNull", "scheduleNext"))).error == (400, "general_query_invalid")
    assert (await ask(given.query("cursorAfter", None, "gone"))).error == (400, "general_cursor_not_found")


@pytest.mark.parametrize("value", ["soon", "-1", "1.5", "", "2999-01-01T00:00:00Z", "99999999", "9" * 40])
async def test_invalid_or_future_moments_are_refused_with_a_sentence(plain: Client, value: str) -> None:
    function_id = await given.function(plain)

    reply = await plain.get(f"/v1/functions/{function_id}", asOf=value)

    assert reply.error == (400, "general_argument_invalid")
    assert "asOf" in reply.message


async def test_resources_created_later_are_not_found(services: Services, plain: Client) -> None:
    before = (await plain.get("/v1/functions")).headers["x-annals-position"]
    function_id = await given.function(plain)
    await follow(services)

    for path in ("", "/variables", "/deployments", "/executions"):
        reply = await plain.get(f"/v1/functions/{function_id}{path}", asOf=before)
        assert reply.error == (404, "function_not_found")
        assert before in reply.message
    assert (await plain.get("/v1/functions", asOf=before)).json == {"total": 0, "functions": []}


async def test_past_needs_its_scope_and_stays_within_the_project(services: Services, plain: Client) -> None:
    function_id = await given.function(plain)
    await follow(services)
    path, position = f"/v1/functions/{function_id}", str(await services.log.reader.position())

    assert (await plain.with_(x_appwrite_key="p1-read").get(path)).status == 200
    reply = await plain.with_(x_appwrite_key="p1-read").get(path, asOf=position)
    assert reply.error == (401, "general_unauthorized_scope")
    other = plain.with_(x_appwrite_project="p2", x_appwrite_key="p2-all")
    assert (await other.get(path, asOf=position)).error == (404, "function_not_found")
    assert (await other.get("/v1/functions", asOf=position)).json["total"] == 0


async def test_past_state_that_is_not_ready_answers_503(plain: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("annals.app.as_of.moment.WAIT_SECONDS", 0.1)
    function_id = await given.function(plain)

    now = (await plain.get("/v1/functions")).headers["x-annals-position"]
    reply = await plain.get(f"/v1/functions/{function_id}", asOf=now)

    assert reply.error == (503, "history_not_ready")
    assert reply.headers["retry-after"] == "1"


async def test_as_of_is_refused_by_operations_without_past_states(edge: Edge, plain: Client) -> None:
    await given.function(plain, functionId="f1")
    answer = {}
    for route in ENDPOINTS:
        if route.method == "GET" and not route.declared["as_of"] and route.path.startswith("/v1/"):
            path = "/".join("f1" if part.startswith("{") else part for part in route.path.split("/"))
            answer[route.path] = await plain.get(path, asOf="1")

    assert {reply.status for reply in answer.values()} <= {400, 401, 403}  # operations that keys may not call answer so
    for path in ("/v1/users", "/v1/teams", "/v1/events", "/v1/functions/{functionId}/history", "/v1/project/variables"):
        assert answer[path].message.startswith("Invalid `asOf` param: This operation only knows the present.")
    written = await plain.send("PUT", "/v1/functions/f1", query="asOf=1", content_type="application/json", body=b"{}")
    assert written.error == (400, "general_argument_invalid")

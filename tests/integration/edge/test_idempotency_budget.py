"""Idempotency keys are bounded: their number for a project, a user or a guest, and the length of answers."""

import asyncio
import time

import msgspec
import pytest

from annals.app.edge import idempotency
from annals.app.edge.edge import Edge
from annals.app.services import Services
from annals.app.wiring import open_services
from annals.domain.ports import Outcome
from annals.telemetry.metrics import Metrics
from tests.integration.edge import given
from tests.integration.edge.client import Client
from tests.integration.edge.executor import FakeExecutor
from tests.integration.edge.test_idempotency import create, keyed
from tests.routes import edge_of


@pytest.fixture
def guest(plain: Client) -> Client:
    return plain.with_(x_appwrite_key=None)


def bounded(services: Services, **settings: int) -> None:
    services.settings = msgspec.structs.replace(services.settings, **settings)


async def spent(services: Services, project: str = "p1") -> dict[str, tuple[int, int]]:
    """Return keys and bytes by pool from the budgets; they must equal a count of the keys."""
    count = "SELECT pool, count(*)::int AS keys, sum(bytes)::int AS bytes FROM idempotency_keys"
    counted = await services.database.rows(f"{count} WHERE project_id = %s GROUP BY pool", (project,))
    budget = "SELECT pool, sum(keys)::int AS keys, sum(bytes)::int AS bytes FROM idempotency_budgets"
    budgets = await services.database.rows(f"{budget} WHERE project_id = %s GROUP BY pool", (project,))
    found = {row["pool"]: (row["keys"], row["bytes"]) for row in budgets if row["keys"] or row["bytes"]}
    assert found == {row["pool"]: (row["keys"], row["bytes"]) for row in counted}
    return found


async def kept_bytes(services: Services) -> int:
    query = "SELECT coalesce(sum(size), 0)::bigint FROM contents WHERE starts_with(stream, 'idempotency:')"
    return int(await services.database.value(query, ()))


async def test_guests_share_a_bounded_number_of_keys_apart_from_the_projects(
    services: Services, executor: FakeExecutor, plain: Client, guest: Client
) -> None:
    bounded(services, idempotency_guest_keys=2)
    function_id = await given.running_function(services, plain, execute=["any"])
    for number in range(2):
        assert (await given.execute(keyed(guest, f"g-{number}"), function_id)).status == 201

    refused = await given.execute(keyed(guest, "g-2"), function_id)

    assert refused.error == (429, "idempotency_budget_spent")
    assert "ANNALS_IDEMPOTENCY_GUEST_KEYS" in refused.json["message"]
    assert 86_000 < int(refused.headers["retry-after"]) <= 86_400
    assert len(executor.runs) == 2, "nothing ran for the refused request"
    assert (await given.execute(guest, function_id)).status == 201, "without a key"
    assert (await given.execute(keyed(guest, "g-1"), function_id)).headers["idempotent-replayed"] == "true"
    assert (await given.execute(keyed(plain), function_id)).status == 201
    assert {pool: keys for pool, (keys, _) in (await spent(services)).items()} == {"guests": 2, "keys": 1}


async def test_errors_of_a_spent_budget_are_delayed_without_blocking_others(
    services: Services, executor: FakeExecutor, plain: Client, guest: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idempotency, "HELD_BACK_SECONDS", 1.0)
    monkeypatch.setattr(idempotency, "MOST_HELD_BACK", 3)
    bounded(services, idempotency_guest_keys=1)
    function_id = await given.running_function(services, plain, execute=["any"])
    assert (await given.execute(keyed(guest, "first"), function_id)).status == 201
    ended: list[str] = []

    async def refused(key: str) -> None:
        assert (await given.execute(keyed(guest, key), function_id)).error == (429, "idempotency_budget_spent")
        ended.append(key)

    began = time.monotonic()
    held = [asyncio.create_task(refused(f"held-{number}")) for number in range(3)]
    async with asyncio.timeout(30):
        while idempotency._held_back["p1"] < 3:
            await asyncio.sleep(0.01)
    assert (await given.execute(guest, function_id)).status == 201, "their permits are others'"
    await refused("one too many")
    await asyncio.gather(*held)

    assert time.monotonic() - began >= 1.0
    assert ended[0] == "one too many"
    assert not idempotency._held_back


async def test_long_answers_to_guests_are_not_stored(
    services: Services, executor: FakeExecutor, plain: Client, guest: Client
) -> None:
    executor.answer = lambda _run: Outcome(status_code=200, body=b"x" * 15_000_000)
    function_id = await given.running_function(services, plain, execute=["any"])

    first = await given.execute(keyed(guest), function_id)
    again = await given.execute(keyed(guest), function_id)

    assert first.status == 201
    assert len(first.json["responseBody"]) == 15_000_000
    assert (again.json["$id"], again.headers["idempotent-body"]) == (first.json["$id"], "not-kept")
    assert len(executor.runs) == 1
    assert await kept_bytes(services) == 0


async def test_repeat_of_a_long_answer_names_the_created_resource_without_the_body(
    services: Services, executor: FakeExecutor, plain: Client
) -> None:
    executor.answer = lambda _run: Outcome(status_code=200, body=b"x" * 200_000)
    bounded(services, idempotency_answer_bytes=100_000)
    function_id = await given.running_function(services, plain)

    first = await given.execute(keyed(plain), function_id)
    again = await given.execute(keyed(plain), function_id)

    assert (again.status, again.json["$id"], again.json["status"]) == (201, first.json["$id"], "completed")
    assert again.headers["idempotent-replayed"] == "true"
    assert again.headers["idempotent-body"] == "not-kept"
    assert (await given.execute(keyed(plain), function_id, body="other")).error == (409, "idempotency_key_reused")
    assert await kept_bytes(services) == 0
    await plain.delete(f"/v1/functions/{function_id}/executions/{first.json['$id']}")
    gone = await given.execute(keyed(plain), function_id)
    assert gone.error == (409, "idempotency_answer_not_kept")
    assert first.json["$id"] in gone.json["message"]
    assert len(executor.runs) == 1, "a deleted execution does not run again"


async def test_bytes_of_answers_are_counted_until_their_day_is_over(
    services: Services, executor: FakeExecutor, plain: Client
) -> None:
    executor.answer = lambda _run: Outcome(status_code=200, body=b"x" * 20_000)
    function_id = await given.running_function(services, plain)
    bounded(services, idempotency_bytes=50_000)
    for key in ("a", "b"):
        assert (await given.execute(keyed(plain, key), function_id)).status == 201
    assert (await spent(services))["keys"] == (2, await kept_bytes(services))

    refused = await given.execute(keyed(plain, "c"), function_id)

    assert refused.error == (429, "idempotency_budget_spent")
    assert "ANNALS_IDEMPOTENCY_BYTES" in refused.json["message"]
    await services.database.execute("UPDATE idempotency_keys SET created_at = now() - interval '25 hours'")
    assert (await given.execute(keyed(plain, "c"), function_id)).status == 201, "a budget frees itself"
    assert (await spent(services))["keys"] == (1, await kept_bytes(services))


async def test_budget_of_keys_is_shared_by_processes_and_refused_requests_are_free(
    services: Services, plain: Client
) -> None:
    bounded(services, idempotency_keys=3)
    async with open_services(services.settings, FakeExecutor(), Metrics()) as other:
        edges = [plain, Client(edge_of(other), plain.headers)]
        for number in range(10):
            assert (await edges[number % 2].json("POST", "/v1/functions", {"name": ""})).status == 400
        made = [await create(keyed(edges[number % 2], f"k-{number}")) for number in range(5)]

    assert [reply.status for reply in made] == [201, 201, 201, 429, 429]
    assert (await spent(services))["keys"][0] == 3
    async with open_services(services.settings, FakeExecutor(), Metrics()) as restarted:
        again = await create(keyed(Client(edge_of(restarted), plain.headers), "k-9"))
    assert again.error == (429, "idempotency_budget_spent")


async def test_each_guest_address_has_a_bounded_number_of_keys(
    services: Services, edge: Edge, plain: Client, guest: Client
) -> None:
    bounded(services, idempotency_caller_keys=2)
    function_id = await given.running_function(services, plain, execute=["any"])
    elsewhere = Client(edge, guest.headers, "192.0.2.1")
    for number in range(2):
        assert (await given.execute(keyed(guest, f"k-{number}"), function_id)).status == 201

    refused = await given.execute(keyed(guest, "k-2"), function_id)

    assert refused.error == (429, "idempotency_budget_spent")
    assert "ANNALS_IDEMPOTENCY_CALLER_KEYS" in refused.json["message"]
    assert (await given.execute(keyed(elsewhere, "k-2"), function_id)).status == 201


async def test_guests_store_a_bounded_number_of_input_bytes_a_day(
    services: Services, plain: Client, guest: Client
) -> None:
    function_id = await given.running_function(services, plain, execute=["any"])
    bounded(services, client_input_bytes=400_000)
    body = "x" * 100_000
    assert (await given.execute(guest, function_id, async_=True, body=body)).status == 202
    assert (await given.execute(guest, function_id, async_=True, body=body)).status == 202

    refused = await given.execute(guest, function_id, async_=True, body=body)

    assert refused.error == (429, "general_rate_limit_exceeded")
    assert "ANNALS_CLIENT_INPUT_BYTES" in refused.json["message"]
    assert 0 < int(refused.headers["retry-after"]) <= 86_400
    assert (await given.execute(guest, function_id, async_=True, body="small")).status == 202
    assert (await given.execute(plain, function_id, async_=True, body=body)).status == 202, "a key of the project"
    assert (await plain.get(f"/v1/functions/{function_id}/executions")).json["total"] == 4

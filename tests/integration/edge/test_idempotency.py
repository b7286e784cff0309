"""Idempotency keys: a repeated request is not carried out again (extensions.md)."""

import asyncio

from annals.app.edge.edge import Edge
from annals.app.services import Services
from annals.domain.function import Function
from annals.domain.ports import Outcome, Run
from tests.integration.edge import given
from tests.integration.edge.client import Client, Reply
from tests.integration.edge.executor import FakeExecutor


def keyed(client: Client, key: str = "k-1") -> Client:
    return client.with_(idempotency_key=key)


async def functions(client: Client) -> int:
    return int((await client.get("/v1/functions")).json["total"])


async def create(client: Client, **fields: str) -> Reply:
    return await client.post("/v1/functions", **{"functionId": "unique()", "name": "f", "runtime": "node-22", **fields})


async def test_repeated_execution_is_answered_with_the_first_ones_answer(
    services: Services, executor: FakeExecutor, key: Client
) -> None:
    function_id = await given.running_function(services, key)

    first = await given.execute(keyed(key), function_id, body="x")
    again = await given.execute(keyed(key), function_id, body="x")

    assert (first.status, again.status) == (201, 201)
    assert again.body == first.body, "the response's body too"
    assert len(executor.runs) == 1
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"


async def test_remembered_answer_is_sealed(services: Services, executor: FakeExecutor, plain: Client) -> None:
    executor.answer = lambda _run: Outcome(status_code=200, body=b"a very private answer")
    function_id = await given.running_function(services, plain)

    reply = await given.execute(keyed(plain), function_id)

    assert reply.json["responseBody"] == "a very private answer"
    [row] = await services.database.rows("SELECT data FROM contents WHERE starts_with(stream, 'idempotency:')")
    assert bytes(row["data"]).startswith(b"v1.")
    assert b"private" not in bytes(row["data"])


async def test_another_request_may_not_use_the_key(services: Services, plain: Client) -> None:
    function_id = await given.running_function(services, plain)
    await given.execute(keyed(plain), function_id, body="x")

    assert (await given.execute(keyed(plain), function_id, body="y")).error == (409, "idempotency_key_reused")
    assert (await create(keyed(plain))).error == (409, "idempotency_key_reused")
    assert (await given.execute(keyed(plain, "k-2"), function_id, body="y")).status == 201


async def test_idempotency_keys_belong_to_their_caller(services: Services, edge: Edge, plain: Client) -> None:
    other = Client(edge, {**plain.headers, "x-appwrite-project": "p2", "x-appwrite-key": "p2-all"})

    first, second = await create(keyed(plain)), await create(keyed(other))

    assert first.status == second.status == 201
    assert first.json["$id"] != second.json["$id"]


async def test_concurrent_repeats_wait_for_the_running_request(
    services: Services, executor: FakeExecutor, plain: Client
) -> None:
    function_id = await given.running_function(services, plain)
    executor.go = asyncio.Event()
    asked = [asyncio.ensure_future(given.execute(keyed(plain), function_id)) for _ in range(5)]
    async with asyncio.timeout(60):
        while not executor.runs:
            await asyncio.sleep(0.01)
    executor.go.set()

    replies = await asyncio.gather(*asked)

    assert len(executor.runs) == 1
    assert len({reply.json["$id"] for reply in replies}) == 1
    assert [reply.headers.get("idempotent-replayed") for reply in replies].count("true") == 4


async def test_create_operations_take_keys(services: Services, plain: Client) -> None:
    function_id = await given.running_function(services, plain)
    before = await functions(plain)
    [deployment] = (await plain.get(f"/v1/functions/{function_id}/deployments")).json["deployments"]
    creations = {
        "/v1/functions": {"functionId": "unique()", "name": "f", "runtime": "node-22"},
        f"/v1/functions/{function_id}/variables": {"variableId": "unique()", "key": "A", "value": "secret"},
        f"/v1/functions/{function_id}/deployments/duplicate": {"deploymentId": deployment["$id"]},
        f"/v1/functions/{function_id}/executions": {"async": True},
    }

    for path, fields in creations.items():
        first, again = [await keyed(plain, path).json("POST", path, fields) for _ in range(2)]
        assert first.status == again.status in {201, 202}, path
        assert again.body == first.body, path
        assert again.headers["idempotent-replayed"] == "true", path

    assert await functions(plain) == before + 1
    assert (await plain.get(f"/v1/functions/{function_id}/deployments")).json["total"] == 2
    assert (await plain.get(f"/v1/functions/{function_id}/executions")).json["total"] == 1


async def test_repeated_upload_makes_no_second_deployment(plain: Client) -> None:
    function_id = await given.function(plain)
    path, fields = f"/v1/functions/{function_id}/deployments", {"activate": "true"}

    first = await keyed(plain).upload(path, fields, file=given.SOURCE)
    again = await keyed(plain).upload(path, fields, file=given.SOURCE)

    assert (first.status, again.status) == (202, 202)
    assert again.json["$id"] == first.json["$id"]
    assert (await plain.get(path)).json["total"] == 1
    other = await keyed(plain).upload(path, fields, file=given.SOURCE + b"\0")
    assert other.error == (409, "idempotency_key_reused")
    assert (await plain.get(path)).json["total"] == 1


async def test_refused_request_frees_its_key(services: Services, plain: Client) -> None:
    function_id = await given.function(plain)
    assert (await given.execute(keyed(plain), function_id)).error == (404, "deployment_not_found")
    await given.built(services, "p1", await given.upload(plain, function_id))

    assert (await given.execute(keyed(plain), function_id)).status == 201


async def test_answer_outside_json_is_remembered_because_the_code_ran(
    services: Services, executor: FakeExecutor, plain: Client
) -> None:
    executor.answer = lambda _run: Outcome(status_code=200, body=b"\xff\xfe")
    function_id = await given.running_function(services, plain)

    replies = [await given.execute(keyed(plain), function_id) for _ in range(2)]

    assert [reply.error for reply in replies] == [(400, "general_unknown")] * 2
    assert len(executor.runs) == 1


async def test_repeat_after_a_process_died_returns_the_created_resource(services: Services, plain: Client) -> None:
    function_id = await given.running_function(services, plain)
    first = await given.execute(keyed(plain), function_id, async_=True)
    await services.database.execute("UPDATE idempotency_keys SET holder = 'dead', answered_at = NULL")

    again = await given.execute(keyed(plain), function_id, async_=True)

    assert (again.status, again.json["$id"]) == (202, first.json["$id"])
    assert (await plain.get(f"/v1/functions/{function_id}/executions")).json["total"] == 1


async def test_repeat_after_a_process_died_early_carries_the_request_out(services: Services, plain: Client) -> None:
    first = await create(keyed(plain))
    gone = Function.key("p1", first.json["$id"])
    await services.log.run(Function.delete, gone, meta=given.META)
    await services.database.execute("UPDATE idempotency_keys SET holder = 'dead', answered_at = NULL")

    again = await create(keyed(plain))

    assert (again.status, again.json["$id"]) == (201, first.json["$id"]), "under the id that was reserved"
    assert await functions(plain) == 1


async def test_server_error_frees_the_key_for_the_next_request(
    services: Services, executor: FakeExecutor, plain: Client
) -> None:
    function_id = await given.running_function(services, plain)

    def breaks(_run: Run) -> Outcome:
        raise RuntimeError("broken")

    fine, executor.answer = executor.answer, breaks
    assert (await given.execute(keyed(plain), function_id)).status == 500
    executor.answer = fine

    again = await given.execute(keyed(plain), function_id)

    assert again.status == 201
    assert (await plain.get(f"/v1/functions/{function_id}/executions")).json["total"] == 1


async def test_unsaved_answer_is_returned_to_a_repeat_once_it_is_saved(services: Services, plain: Client) -> None:
    await services.database.execute(
        "CREATE FUNCTION lose() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION USING ERRCODE = 'admin_shutdown'; END $$"
    )
    await services.database.execute(
        "CREATE TRIGGER lose BEFORE UPDATE ON idempotency_keys FOR EACH ROW EXECUTE FUNCTION lose()"
    )
    first = await create(keyed(plain))
    assert first.status == 201, "for it was done"
    await services.database.execute("DROP FUNCTION lose CASCADE")

    again = await create(keyed(plain))

    assert (again.status, again.json["$id"]) == (201, first.json["$id"])
    assert again.headers["idempotent-replayed"] == "true"
    assert await functions(plain) == 1


async def test_disconnected_repeat_leaves_the_key_to_the_next_one(services: Services, plain: Client) -> None:
    first = await create(keyed(plain))
    await services.database.execute("UPDATE idempotency_keys SET holder = 'dead', answered_at = NULL")
    await services.database.execute("ALTER TABLE functions RENAME TO away")
    assert (await create(keyed(plain))).status == 500
    await services.database.execute("ALTER TABLE away RENAME TO functions")

    again = await create(keyed(plain))

    assert (again.status, again.json["$id"]) == (201, first.json["$id"])


async def test_after_a_day_a_key_is_new_and_its_answer_is_gone(
    services: Services, executor: FakeExecutor, plain: Client
) -> None:
    function_id = await given.running_function(services, plain)
    first = await given.execute(keyed(plain), function_id)
    await services.database.execute("UPDATE idempotency_keys SET created_at = now() - interval '25 hours'")

    again = await given.execute(keyed(plain), function_id, body="another")

    assert again.json["$id"] != first.json["$id"]
    assert len(executor.runs) == 2
    await services.database.execute("UPDATE idempotency_keys SET created_at = now() - interval '25 hours'")
    assert await services.idempotency.forget_old() == 1
    assert (
        await services.database.value("SELECT count(*) FROM contents WHERE starts_with(stream, 'idempotency:')", ())
        == 0
    )


async def test_key_that_is_too_long_is_refused(plain: Client) -> None:
    assert (await create(keyed(plain, "k" * 256))).error == (400, "general_argument_invalid")

"""Dead letters and attempts over the wire: listed, read, redriven, discarded (extensions.md)."""

import json
from datetime import UTC, datetime
from typing import Any

from annals.app.services import Services
from annals.domain.execution import Execution, RunRecord
from annals.domain.policy import Retries
from annals.store.content.inputs import open_input
from tests.integration.edge import given
from tests.integration.edge.client import Client
from tests.integration.edge.given import signed_in, user
from tests.integration.edge.test_conservation import NONE, counted, drift

RAN = RunRecord(
    deployment_id="d",
    function_version=1,
    environment_digest="e",
    specification="s",
    queue_ms=2,
    start_ms=30,
    run_ms=400,
)


async def retried_function(services: Services, client: Client, attempts: int = 2) -> str:
    function_id = await given.running_function(services, client)
    policy = {"retries": {"attempts": attempts, "backoffSeconds": 1}}
    assert (await client.json("PUT", f"/v1/functions/{function_id}/policy", policy)).status == 200
    return function_id


async def accepted(client: Client, function_id: str, **fields: Any) -> str:
    reply = await given.execute(client, function_id, async_=True, **fields)
    assert reply.status == 202
    return str(reply.json["$id"])


async def attempt(
    services: Services, execution_id: str, reason: Any = "timeout", message: str = "It was late.", status: int = 500
) -> None:
    """Run the execution once, with a failure."""
    key = Execution.key("p1", execution_id)
    await services.log.run(Execution.claim, key, meta=given.META, worker="w1")
    execution: Execution = await services.log.load(key)
    execution.fail(execution.epoch, reason, message, now=datetime.now(UTC), status_code=status, ran=RAN)
    await services.log.record([execution], meta=given.META)


async def dead_letter(services: Services, client: Client, function_id: str, **fields: Any) -> str:
    execution_id = await accepted(client, function_id, **fields)
    for _ in range(2):
        await attempt(services, execution_id)
    return execution_id


async def test_call_keeps_the_policy_of_its_acceptance(services: Services, plain: Client) -> None:
    function_id = await retried_function(services, plain)
    execution_id = await accepted(plain, function_id)
    await plain.json("PUT", f"/v1/functions/{function_id}/policy", {})

    execution: Execution = await services.log.load(Execution.key("p1", execution_id))
    assert execution.retries == Retries(attempts=2, backoff_seconds=1)
    later: Execution = await services.log.load(Execution.key("p1", await accepted(plain, function_id)))
    assert later.retries is None


async def test_clients_see_a_waiting_execution_and_then_a_failed_one_with_the_reason(
    services: Services, key: Client
) -> None:
    function_id = await retried_function(services, key)
    execution_id = await accepted(key, function_id)
    path = f"/v1/functions/{function_id}/executions/{execution_id}"

    await attempt(services, execution_id)
    waiting = (await key.get(path)).json
    await attempt(services, execution_id)
    failed = (await key.get(path)).json

    assert waiting["status"] == "waiting"
    assert waiting["errors"].startswith("Attempt 1 failed (timeout), the next one is due at ")
    assert (failed["status"], failed["responseStatusCode"], failed["duration"]) == ("failed", 500, 0.4)
    assert failed["errors"] == "Given up after 2 of 2 attempts, the last one with timeout. It was late."
    assert (await key.get(f"{path}/logs")).json["reason"] == "dead_lettered"
    assert set(waiting) == set(failed)


async def test_dead_letters_are_listed_and_filtered(services: Services, plain: Client) -> None:
    function_id = await retried_function(services, plain)
    first = await dead_letter(services, plain, function_id, path="/a")
    second = await dead_letter(services, plain, function_id, path="/b")
    other = await retried_function(services, plain)
    await dead_letter(services, plain, other)
    path = f"/v1/functions/{function_id}/dead-letters"

    reply = await plain.get(path)

    assert (reply.json["total"], given.ids(reply, "deadLetters")) == (2, [first, second])
    answer = reply.json["deadLetters"][0]
    assert (answer["functionId"], answer["trigger"], answer["requestPath"], answer["attempts"], answer["reason"]) == (
        *(function_id, "http", "/a"),
        *(2, "timeout"),
    )
    query = json.dumps(given.query("equal", "requestPath", "/b"))
    assert given.ids(await plain.get(path, **{"queries[]": query}), "deadLetters") == [second]
    unknown = json.dumps(given.query("equal", "status", "failed"))
    assert (await plain.get(path, **{"queries[]": unknown})).status == 400


async def test_dead_letter_is_redriven_as_a_new_execution_with_the_same_input(
    services: Services, plain: Client
) -> None:
    function_id = await retried_function(services, plain)
    letter = await dead_letter(services, plain, function_id, body="precious", path="/x", headers={"a": "b"})
    path = f"/v1/functions/{function_id}/dead-letters"

    reply = await plain.post(f"{path}/{letter}/redrive")

    assert reply.status == 202
    made = reply.json["$id"]
    assert (made != letter, reply.json["status"], reply.json["requestPath"]) == (True, "waiting", "/x")
    stream = Execution.stream("p1", made)
    kept = await open_input(services.vault, "p1", stream, await services.log.contents.read(stream, "input"))
    assert (kept.body, dict(kept.headers)["a"]) == (b"precious", "b")
    assert (await plain.get(path)).json["total"] == 0
    again = await plain.post(f"{path}/{letter}/redrive")
    assert again.error == (404, "dead_letter_not_found")
    attempts = f"/v1/functions/{function_id}/executions"
    assert (await plain.get(f"{attempts}/{made}/attempts")).json["redrives"] == letter
    assert (await plain.get(f"{attempts}/{letter}/attempts")).json["redrivenAs"] == made
    history = (await plain.get(f"{attempts}/{letter}/history")).json["events"]
    assert history[-1]["type"] == "execution.redriven"


async def test_matching_dead_letters_are_redriven_and_the_rest_is_counted(services: Services, plain: Client) -> None:
    function_id = await retried_function(services, plain)
    letters = [await dead_letter(services, plain, function_id, path=f"/{n % 2}") for n in range(5)]
    path = f"/v1/functions/{function_id}/dead-letters"

    some = await plain.post(
        f"{path}/redrive", queries=[json.dumps(given.query("equal", "requestPath", "/0")), json.dumps(_limit(2))]
    )
    assert (some.status, some.json["total"], some.json["remaining"]) == (202, 2, 1)
    assert [one["deadLetterId"] for one in some.json["redriven"]] == [letters[0], letters[2]]
    rest = await plain.post(f"{path}/redrive")

    assert [one["deadLetterId"] for one in rest.json["redriven"]] == [letters[1], letters[3], letters[4]]
    assert (await plain.get(path)).json["total"] == 0
    executions = (await plain.get(f"/v1/functions/{function_id}/executions")).json
    assert executions["total"] == 10


async def test_discarded_dead_letter_leaves_the_list_and_stays_an_execution(services: Services, plain: Client) -> None:
    function_id = await retried_function(services, plain)
    letter = await dead_letter(services, plain, function_id)
    path = f"/v1/functions/{function_id}/dead-letters"

    assert (await plain.delete(f"{path}/{letter}")).status == 204

    assert (await plain.get(path)).json["total"] == 0
    assert (await plain.get(f"/v1/functions/{function_id}/executions/{letter}")).json["status"] == "failed"
    assert (await plain.delete(f"{path}/{letter}")).error == (404, "dead_letter_not_found")


async def test_dead_letter_without_a_deployment_is_not_redriven(services: Services, plain: Client) -> None:
    function_id = await retried_function(services, plain)
    letter = await dead_letter(services, plain, function_id)
    deployment = (await plain.get(f"/v1/functions/{function_id}")).json["deploymentId"]
    await plain.delete(f"/v1/functions/{function_id}/deployments/{deployment}")

    reply = await plain.post(f"/v1/functions/{function_id}/dead-letters/{letter}/redrive")

    assert reply.error == (404, "deployment_not_found")
    assert (await plain.get(f"/v1/functions/{function_id}/dead-letters")).json["total"] == 1


async def test_users_and_other_projects_see_no_dead_letters(
    services: Services, plain: Client, anonymous: Client
) -> None:
    function_id = await retried_function(services, plain)
    letter = await dead_letter(services, plain, function_id)
    path = f"/v1/functions/{function_id}/dead-letters"
    await user(plain, "ada")
    ada = await signed_in(plain, "ada")
    other = anonymous.with_(x_appwrite_project="p2", x_appwrite_key="p2-all")

    for client, wanted in ((ada, (401, "user_unauthorized")), (other, (404, "function_not_found"))):
        assert (await client.get(path)).error == wanted
        assert (await client.post(f"{path}/redrive")).error == wanted
        assert (await client.post(f"{path}/{letter}/redrive")).error == wanted
        assert (await client.delete(f"{path}/{letter}")).error == wanted
    assert (await plain.post(f"{path}/nothing/redrive")).error == (404, "dead_letter_not_found")
    assert (await plain.delete(f"{path}/nothing")).error == (404, "dead_letter_not_found")


async def test_attempts_show_queue_start_and_run_time(services: Services, plain: Client) -> None:
    function_id = await retried_function(services, plain)
    execution_id = await dead_letter(services, plain, function_id)

    answer = (await plain.get(f"/v1/functions/{function_id}/executions/{execution_id}/attempts")).json

    assert (answer["status"], answer["reason"], answer["total"], answer["waiting"]) == (
        "failed",
        "dead_lettered",
        2,
        None,
    )
    first, second = answer["attempts"]
    assert (first["number"], first["status"], first["reason"], first["message"]) == (
        *(1, "failed"),
        *("timeout", "It was late."),
    )
    assert (first["startTime"], first["runTime"], first["responseStatusCode"]) == (0.03, 0.4, 500)
    assert 0.002 <= first["queueTime"] < 5
    assert (second["number"], second["reason"]) == (2, "timeout")


async def test_attempt_that_failed_in_the_code_has_a_message(services: Services, plain: Client) -> None:
    function_id = await retried_function(services, plain)
    execution_id = await accepted(plain, function_id)
    await attempt(services, execution_id, reason="error", message="", status=503)

    answer = (await plain.get(f"/v1/functions/{function_id}/executions/{execution_id}/attempts")).json

    [failed] = answer["attempts"]
    assert (failed["reason"], failed["message"]) == ("error", "The code answered with status code 503.")


async def test_synchronous_call_is_one_attempt(services: Services, plain: Client) -> None:
    function_id = await retried_function(services, plain)
    execution = (await given.execute(plain, function_id)).json

    answer = (await plain.get(f"/v1/functions/{function_id}/executions/{execution['$id']}/attempts")).json

    [only] = answer["attempts"]
    assert (only["number"], only["status"], only["runTime"]) == (1, "completed", 0.25)


async def test_waiting_attempt_shows_its_reason_and_queue_position(services: Services, plain: Client) -> None:
    function_id = await retried_function(services, plain)
    ids = [await accepted(plain, function_id) for _ in range(3)]

    async def waiting(number: int) -> dict[str, Any]:
        reply = await plain.get(f"/v1/functions/{function_id}/executions/{ids[number]}/attempts")
        found: dict[str, Any] = reply.json["waiting"]
        return found

    assert [await waiting(n) for n in range(3)] == [
        {"reason": "queue", "position": n, "until": None} for n in (1, 2, 3)
    ]  # fmt: skip
    await attempt(services, ids[0])
    answer = await waiting(0)
    assert (answer["reason"], answer["position"]) == ("retry", 0)
    assert answer["until"] > ""
    await plain.json("PUT", f"/v1/functions/{function_id}/policy", {"scaling": {"concurrency": 1}})
    await services.log.run(Execution.claim, Execution.key("p1", ids[1]), meta=given.META, worker="w1")
    assert await waiting(2) == {"reason": "concurrency", "position": 1, "until": None}


async def test_gauges_stay_zero_through_attempts_dead_letters_and_redrives(services: Services, plain: Client) -> None:
    function_id = await retried_function(services, plain)
    await attempt(services, await accepted(plain, function_id))
    letters = [await dead_letter(services, plain, function_id) for _ in range(3)]
    await plain.post(f"/v1/functions/{function_id}/dead-letters/{letters[0]}/redrive")
    await plain.delete(f"/v1/functions/{function_id}/dead-letters/{letters[1]}")
    await counted(services)

    assert await drift(services, plain) == NONE


def _limit(number: int) -> dict[str, Any]:
    return {"method": "limit", "values": [number]}

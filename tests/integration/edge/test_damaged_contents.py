"""One byte of a stored content has changed: it is never served as recorded, and everything else is served."""

import random
from typing import Any

import httpx
import pytest

from annals.app.services import Services
from annals.domain.deployment import Deployment
from annals.domain.ports import CompleteLog, Outcome
from annals.store.content.contents import Content, digest
from tests.integration.edge import given
from tests.integration.edge.client import Client, Reply
from tests.integration.edge.executor import FakeExecutor, served
from tests.integration.edge.process import Processes
from tests.integration.edge.test_dead_letters import dead_letter, retried_function
from tests.integration.edge.test_execution_logs import events_of

DAMAGED = (503, "content_damaged")
LOGS = "a line of a log\n" * 5000
SENTENCE = "cannot be given: the bytes that are kept do not have the digest that was recorded for them."


async def flip(services: Services, key: str, at: int = -1) -> None:
    """Change one byte of a blob."""
    data = bytearray(await services.blobs.get(key))
    data[at] ^= 1
    await services.blobs.put(key, bytes(data))


async def blob_of(services: Services, kind: str, stream: str) -> str:
    found = "SELECT blob FROM contents WHERE kind = %s AND stream = %s"
    return str(await services.database.value(found, (kind, stream)))


async def executed(services: Services, client: Client, executor: FakeExecutor, outcome: Outcome) -> tuple[str, str]:
    """Return the paths of all executions of a function, and of one that ended so."""
    executor.answer = lambda _run: outcome
    function_id = await given.running_function(services, client)
    path = f"/v1/functions/{function_id}/executions"
    return path, f"{path}/{(await given.execute(client, function_id)).json['$id']}"


def refused(reply: Reply) -> None:
    assert reply.error == DAMAGED
    assert SENTENCE in reply.message
    assert "annals verify --contents" in reply.message


async def test_damaged_log_is_marked_in_records_and_refused_as_a_download(
    services: Services, executor: FakeExecutor, key: Client
) -> None:
    path, one = await executed(services, key, executor, Outcome(status_code=200, logs=LOGS, errors="whole"))
    execution_id = one.rpartition("/")[2]
    blob = await blob_of(services, "logs", f"execution:p1:{execution_id}")
    await flip(services, blob)

    listed = (await key.get(path)).json["executions"][0]
    for shown in ((await key.get(one)).json, listed):
        assert shown["logs"].startswith(f"[ERROR] The logs of execution:p1:{execution_id} {SENTENCE}")
        assert (shown["status"], shown["errors"]) == ("completed", "whole")
    followed = events_of((await key.with_(accept="text/event-stream").get(f"{one}/logs")).body)
    assert followed[0] == ("log", listed["logs"])
    refused(await key.get(f"{one}/logs"))
    refused(await key.get(f"{one}/logs/download"))
    refused(await key.with_(range="bytes=0-9").get(f"{one}/logs/download"))
    assert (await key.get(f"{one}/logs/download", output="errors")).body == b"whole"

    await flip(services, blob)
    assert [row["logs"] for row in (await key.get(path)).json["executions"]] == [LOGS]
    assert (await key.get(f"{one}/logs/download")).body == LOGS.encode()


async def test_damage_in_a_row_is_found_like_damage_in_a_blob(
    services: Services, executor: FakeExecutor, plain: Client
) -> None:
    _, one = await executed(services, plain, executor, Outcome(status_code=200, logs="paid 10"))
    await services.database.execute("UPDATE contents SET data = 'paid 99' WHERE kind = 'logs'")

    assert "paid" not in (await plain.get(one)).json["logs"]
    refused(await plain.get(f"{one}/logs"))


async def test_stream_of_a_damaged_large_log_breaks_off(
    services: Services, executor: FakeExecutor, plain: Client
) -> None:
    data = random.Random(7).randbytes(3_000_000)
    blob = await services.blobs.put("contents/p1/whole", data)
    whole = CompleteLog(kind="logs", key=blob.key, digest=blob.digest, size=blob.size)
    _, one = await executed(services, plain, executor, Outcome(status_code=200, logs="the end", whole=[whole]))
    some = plain.with_(range="bytes=0-999999")
    assert (await some.get(f"{one}/logs/download")).body == data[:1_000_000]
    await flip(services, blob.key)

    broken = await plain.get(f"{one}/logs/download")

    assert (broken.status, broken.headers["content-length"]) == (200, "3000000")
    assert 1_000_000 <= len(broken.body) < 3_000_000
    refused(await some.get(f"{one}/logs/download"))
    refused(await plain.with_(range="bytes=2999990-").get(f"{one}/logs/download"))


async def test_connection_breaks_before_the_end_of_damaged_contents_and_the_cause_is_logged(
    services: Services, executor: FakeExecutor, plain: Client, processes: Processes
) -> None:
    function_id = await given.function(plain)
    deployment_id = await given.upload(plain, function_id, random.Random(7).randbytes(3_000_000))
    await flip(services, str(await services.database.value("SELECT source_key FROM deployments")))
    path = f"/v1/functions/{function_id}/deployments/{deployment_id}/download"
    socket = processes.executor_socket()

    async with served(executor, socket), httpx.AsyncClient(headers=plain.headers, timeout=60) as http:
        with processes.api(services.settings, socket) as log:
            with pytest.raises(httpx.RemoteProtocolError, match="peer closed connection"):
                await http.get(f"http://{processes.address.host}:{processes.address.port}{path}")

            said = log.read_text()
    assert "content_damaged" in said
    assert f"The source of deployment:p1:{deployment_id} cannot be given" in said
    assert "Traceback" not in said


async def test_damaged_source_is_neither_downloaded_nor_rebuilt(services: Services, key: Client) -> None:
    function_id = await given.function(key)
    deployment_id = await given.upload(key, function_id)
    await given.built(services, "p1", deployment_id)
    select = "SELECT source_key, artefact_key FROM deployments WHERE deployment_id = %s"
    row: Any = await services.database.row(select, (deployment_id,))
    await flip(services, row["source_key"])

    refused(await given.download(key, function_id, deployment_id))
    refused(await given.download(key.with_(range="bytes=0-3"), function_id, deployment_id))
    assert (await given.download(key, function_id, deployment_id, type="output")).body == b"built"
    refused(await key.post(f"/v1/functions/{function_id}/deployments/duplicate", deploymentId=deployment_id))
    assert (await key.get(f"/v1/functions/{function_id}/deployments")).json["total"] == 1

    await flip(services, row["artefact_key"])
    refused(await given.download(key, function_id, deployment_id, type="output"))


async def test_damaged_build_log_is_replaced_by_a_sentence(services: Services, plain: Client) -> None:
    function_id = await given.function(plain)
    deployment_id = await given.upload(plain, function_id)
    build = Deployment.key("p1", deployment_id)
    await services.log.run(Deployment.claim_build, build, meta=given.META, worker="w1")
    await services.log.run(Deployment.start_build, build, meta=given.META, epoch=1)
    recorded_events: dict[str, Any] = {"epoch": 1, "milliseconds": 1, "specification": "s-1vcpu-1gb"}
    text = LOGS.encode()
    await services.log.run(
        Deployment.fail_build,
        build,
        meta=given.META,
        reason="command_failed",
        message="It failed.",
        logs_digest=digest(text),
        logs_size=len(text),
        contents=[Content(build.stream, "build", text)],
        **recorded_events,
    )
    path = f"/v1/functions/{function_id}/deployments"
    assert (await plain.get(f"{path}/{deployment_id}")).json["buildLogs"] == LOGS
    await flip(services, await blob_of(services, "build", build.stream))

    for shown in ((await plain.get(f"{path}/{deployment_id}")).json, (await plain.get(path)).json["deployments"][0]):
        assert shown["buildLogs"].startswith(f"[ERROR] The build log of {build.stream} {SENTENCE}")
        assert shown["status"] == "failed"
    refused(await plain.get(f"{path}/{deployment_id}/logs"))


async def test_dead_letter_with_damaged_input_stays_and_blocks_no_other(services: Services, plain: Client) -> None:
    function_id = await retried_function(services, plain)
    damaged = await dead_letter(services, plain, function_id, body="a body " * 10_000)
    whole = await dead_letter(services, plain, function_id, body="a body " * 10_000)
    blob = await blob_of(services, "input", f"execution:p1:{damaged}")
    await flip(services, blob)
    path = f"/v1/functions/{function_id}/dead-letters"

    refused(await plain.post(f"{path}/{damaged}/redrive"))
    some = (await plain.post(f"{path}/redrive")).json
    assert ([one["deadLetterId"] for one in some["redriven"]], some["remaining"]) == ([whole], 1)
    refused(await plain.post(f"{path}/redrive"))
    assert [one["$id"] for one in (await plain.get(path)).json["deadLetters"]] == [damaged]

    await flip(services, blob)
    assert (await plain.post(f"{path}/{damaged}/redrive")).status == 202


async def test_history_in_a_damaged_archive_is_refused(services: Services, plain: Client) -> None:
    await given.function(plain)
    last = await services.log.reader.position()
    assert (await plain.get(f"/v1/events/{last}")).status == 200
    await services.blobs.put("archive/1", b"other")
    await services.database.execute(
        "INSERT INTO archive_segments VALUES (0, 256, 1, %s, now(), 'archive/1', repeat('0', 64), 5, '')", (last,)
    )

    reply = await plain.get(f"/v1/events/{last}")

    assert reply.error == DAMAGED
    assert reply.message == "The archive archive/1 does not have the digest that was recorded for it."

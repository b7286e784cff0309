"""The output of executions: read as a whole, and followed while they run (extensions.md)."""

import asyncio

import msgspec

from annals.app.edge.edge import Edge
from annals.app.services import Services
from annals.domain.ports import CompleteLog, Outcome, Output
from tests.integration.edge import given
from tests.integration.edge.client import Client, Following
from tests.integration.edge.executor import FakeExecutor

Event = tuple[str, object]


def events_of(body: bytes) -> list[Event]:
    """Return the events of a stream as names and data."""
    found = []
    for block in body.decode().strip().split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        found.append((lines["event"], msgspec.json.decode(lines["data"])))
    return found


def failing(logs: str = "one\ntwo\n") -> Outcome:
    return Outcome(status_code=500, reason="timeout", message="Execution timed out.", logs=logs, errors="a trace")


async def test_whole_output_is_returned(services: Services, executor: FakeExecutor, key: Client) -> None:
    executor.answer = lambda _run: failing()
    function_id = await given.running_function(services, key)
    made = (await given.execute(key, function_id)).json["$id"]
    path = f"/v1/functions/{function_id}/executions/{made}/logs"

    assert (await key.get(path)).json == {
        "$id": made,
        "status": "failed",
        "reason": "timeout",
        "logs": "one\ntwo\n",
        "errors": "Execution timed out.\na trace",
    }
    assert events_of((await key.with_(accept="text/event-stream").get(path)).body) == [
        ("log", "one\ntwo\n"),
        ("error", "Execution timed out.\na trace"),
        ("end", {"status": "failed", "reason": "timeout"}),
    ]


async def test_running_execution_is_followed_to_its_end(
    services: Services, executor: FakeExecutor, edge: Edge, plain: Client
) -> None:
    executor.go, executor.answer = asyncio.Event(), lambda _run: failing("one\ntwo\nthree\n")
    function_id = await given.running_function(services, plain)
    running = asyncio.ensure_future(given.execute(plain, function_id))
    path = f"/v1/functions/{function_id}/executions"
    async with asyncio.timeout(60):
        while not (rows := (await plain.get(path)).json["executions"]):
            await asyncio.sleep(0.01)
    made = rows[0]["$id"]
    executor.written[made] = Output("one\n")
    assert (await plain.get(f"{path}/{made}/logs")).json["logs"] == "one\n"
    following = Following(edge, plain.headers, f"{path}/{made}/logs")
    await following.wait_for(b"one")
    executor.written[made] = Output("one\ntwo\n", "oh")
    await following.wait_for(b"oh")
    executor.go.set()

    await running
    await following.ended()
    assert events_of(following.body) == [
        ("log", "one\n"),
        ("log", "two\n"),
        ("error", "oh"),
        ("log", "three\n"),
        ("error", "Execution timed out.\na trace"),
        ("end", {"status": "failed", "reason": "timeout"}),
    ]


async def test_following_resumes_after_the_last_event(
    services: Services, executor: FakeExecutor, plain: Client
) -> None:
    executor.answer = lambda _run: Outcome(status_code=200, logs="one\ntwo\n")
    function_id = await given.running_function(services, plain)
    made = (await given.execute(plain, function_id)).json["$id"]
    follower = plain.with_(accept="text/event-stream", last_event_id="4-0")

    reply = await follower.get(f"/v1/functions/{function_id}/executions/{made}/logs")

    assert events_of(reply.body) == [("log", "two\n"), ("end", {"status": "completed", "reason": ""})]


async def test_logs_are_downloaded_whole_and_by_range(
    services: Services, executor: FakeExecutor, plain: Client
) -> None:
    data = b"".join(b"%07d\n" % n for n in range(150_000))
    blob = await services.blobs.put("contents/p1/whole", data)
    whole = CompleteLog(kind="logs", key=blob.key, digest=blob.digest, size=blob.size)
    executor.answer = lambda _run: msgspec.structs.replace(failing(data.decode()), whole=[whole])
    function_id = await given.running_function(services, plain)
    made = (await given.execute(plain, function_id)).json
    path = f"/v1/functions/{function_id}/executions/{made['$id']}/logs/download"

    reply = await plain.get(path)
    assert (reply.status, reply.body) == (200, data)
    assert reply.headers["content-type"] == "text/plain; charset=utf-8"
    assert reply.headers["content-length"] == str(len(data))
    assert made["logs"].startswith("[WARNING] Logs truncated.")
    assert (await plain.get(path, output="errors")).body == b"Execution timed out.\na trace"
    for asked, start, end in (("0-7", 0, 8), ("1199992-", 1_199_992, 1_200_000), ("-8", 1_199_992, 1_200_000)):
        part = await plain.with_(range=f"bytes={asked}").get(path)
        assert (part.status, part.body) == (206, data[start:end])
        assert part.headers["content-range"] == f"bytes {start}-{end - 1}/1200000"
    assert (await plain.with_(range="bytes=1200000-").get(path)).error == (416, "storage_invalid_range")
    assert (await plain.with_(range="lines=1-2").get(path)).status == 200


async def test_errors_begin_with_the_platforms_sentence_in_any_range(
    services: Services, executor: FakeExecutor, plain: Client
) -> None:
    data = b"x" * 1_100_000
    blob = await services.blobs.put("contents/p1/whole", data)
    whole = CompleteLog(kind="errors", key=blob.key, digest=blob.digest, size=blob.size)
    executor.answer = lambda _run: msgspec.structs.replace(failing(), errors=data.decode(), whole=[whole])
    function_id = await given.running_function(services, plain)
    made = (await given.execute(plain, function_id)).json["$id"]
    path = f"/v1/functions/{function_id}/executions/{made}/logs/download"

    expected = b"Execution timed out.\n" + data
    assert (await plain.get(path, output="errors")).body == expected
    part = await plain.with_(range="bytes=10-30").get(path, output="errors")
    assert (part.body, part.headers["content-range"]) == (expected[10:31], "bytes 10-30/1100021")


async def test_callers_without_access_to_logs_read_none(services: Services, plain: Client) -> None:
    function_id, other = await given.running_function(services, plain), await given.function(plain)
    made = (await given.execute(plain, function_id)).json["$id"]
    path = f"/v1/functions/{function_id}/executions/{made}/logs"

    for below in (path, f"{path}/download"):
        assert (await plain.with_(x_appwrite_key="p1-none").get(below)).error == (401, "general_unauthorized_scope")
        assert (await plain.get(below.replace(function_id, other))).error == (404, "execution_not_found")

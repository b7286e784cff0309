"""A build's log, as a whole and while it grows."""

from typing import Any

import msgspec

from annals.app.edge.edge import Edge
from annals.app.services import Services
from annals.domain.commands.deployments import cancel_build
from annals.domain.deployment import Deployment
from tests.integration.edge import given
from tests.integration.edge.client import Client, Following


async def building(services: Services, client: Client) -> tuple[str, Any]:
    """Return the path of a running build's log, and the deployment's key."""
    function_id = await given.function(client)
    deployment_id = await given.upload(client, function_id)
    key = Deployment.key("p1", deployment_id)
    await services.log.run(Deployment.claim_build, key, meta=given.META, worker="w")
    await services.log.run(Deployment.start_build, key, meta=given.META, epoch=1)
    return f"/v1/functions/{function_id}/deployments/{deployment_id}/logs", key


async def write(services: Services, key: Any, seq: int, text: str) -> None:
    await services.database.execute(
        "INSERT INTO build_logs (stream_id, epoch, seq, chunk) VALUES (%s, 1, %s, %s)", (key.stream, seq, text)
    )


async def cancel(services: Services, key: Any, function_id: str) -> None:
    await services.log.run(cancel_build, key, meta=given.META, function_id=function_id, seconds=1)


def events(body: bytes) -> list[dict[str, str]]:
    parsed = []
    for block in body.decode().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if fields:
            parsed.append(fields)
    return parsed


async def test_log_is_followed_until_the_build_ends(services: Services, edge: Edge, plain: Client) -> None:
    path, key = await building(services, plain)
    await write(services, key, 1, "one\n")
    following = Following(edge, plain.headers, path)
    await following.wait_for(b"one")
    await write(services, key, 2, "two\n")
    await following.wait_for(b"two")
    await cancel(services, key, path.split("/")[3])

    await following.ended()

    assert following.headers["content-type"] == "text/event-stream"
    found = events(following.body)
    assert "".join(msgspec.json.decode(event["data"]) for event in found[:-1]) == (
        "one\ntwo\n\nBuild has been canceled.\n"
    )
    assert len(found) >= 3
    assert (found[-1]["event"], found[-1]["data"]) == ("end", '{"status":"canceled"}')
    assert (await plain.get(path)).body == b"one\ntwo\n\nBuild has been canceled.\n"


async def test_following_resumes_after_the_last_event(services: Services, plain: Client) -> None:
    path, key = await building(services, plain)
    await write(services, key, 1, "one\ntwo\n")
    await cancel(services, key, path.split("/")[3])
    follower = plain.with_(accept="text/event-stream")

    rest = events((await follower.with_(last_event_id="1-4").get(path)).body)
    assert msgspec.json.decode(rest[0]["data"]) == "two\n\nBuild has been canceled.\n"
    for nonsense in ("7-4", "x", "1-999999", "-"):
        anew = events((await follower.with_(last_event_id=nonsense).get(path)).body)
        assert msgspec.json.decode(anew[0]["data"]).startswith("one\n")


async def test_log_belongs_to_its_function(services: Services, plain: Client) -> None:
    path, _ = await building(services, plain)
    other = await given.function(plain)
    foreign = path.replace(path.split("/")[3], other)

    assert (await plain.get(foreign)).error == (404, "deployment_not_found")

"""A project's events as they happen: in order, without gaps, resumed from the client's position."""

import asyncio

from annals.app.edge.edge import Edge
from annals.app.services import Services
from tests.integration.edge import given
from tests.integration.edge.client import Client, Following


async def test_feed_is_followed_without_gaps_and_resumed(services: Services, edge: Edge, plain: Client) -> None:
    await given.function(plain, functionId="before")
    began = await services.log.reader.position()
    following = Following(edge, plain.headers)
    while not services.listening._inside:
        await asyncio.sleep(0.01)

    async def write(worker: int) -> None:
        for number in range(10):
            await given.function(plain, functionId=f"f{worker}-{number}")

    await asyncio.gather(*(write(worker) for worker in range(4)))
    seen = [await following.next() for _ in range(40)]
    await following.leave()

    assert following.status == 200
    positions = [position for position, _ in seen]
    assert positions == [f.position for f in await services.log.reader.after(began, 100, project="p1")]
    assert {event["resourceId"] for _, event in seen} == {f"f{w}-{n}" for w in range(4) for n in range(10)}
    again = Following(edge, {**plain.headers, "last-event-id": str(positions[10])})
    assert [(await again.next())[0] for _ in range(29)] == positions[11:]
    await again.leave()
    assert not services.listening._inside


async def test_filtered_feed_reports_its_position(services: Services, edge: Edge, plain: Client) -> None:
    await given.function(plain, functionId="f1")
    await plain.put("/v1/functions/f1", name="N")
    following = Following(edge, plain.headers, query="after=0&type=function.updated")

    position, event = await following.next()
    assert (position, event["type"]) == (await services.log.reader.position(), "function.updated")
    await given.function(plain, functionId="f2")
    assert await following.next() == (await services.log.reader.position(), None)
    await following.leave()


async def test_feed_of_unknown_types_is_refused(edge: Edge, plain: Client) -> None:
    """Such a feed would be silent for ever."""
    for query in ("type=function.renamed", "resource=variable:v"):
        following = Following(edge, plain.headers, query=query)
        await following.ended()
        assert following.status == 400


async def test_feed_needs_its_scope(edge: Edge, plain: Client) -> None:
    following = Following(edge, {**plain.headers, "x-appwrite-key": "p1-read"})
    await following.ended()
    assert following.status == 401


async def test_feed_from_a_position_outside_the_log_is_refused(services: Services, edge: Edge, plain: Client) -> None:
    """The feed would leave events out without a sign."""
    end = await services.log.reader.position()
    for headers, query in (
        ({"last-event-id": str(end + 1)}, ""),
        ({"last-event-id": "abc"}, ""),
        ({}, f"after={end + 1}"),
    ):
        following = Following(edge, {**plain.headers, **headers}, query=query)
        await following.ended()
        assert following.status == 400
    following = Following(edge, {**plain.headers, "last-event-id": str(end)})
    await given.function(plain, functionId="next")
    assert (await following.next())[1]["resourceId"] == "next"
    await following.leave()

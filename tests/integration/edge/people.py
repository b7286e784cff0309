"""Users, and clients that call as one of them."""

from typing import Any

from tests.integration.edge.client import Client


async def user(key: Client, user_id: str, **fields: Any) -> dict[str, Any]:
    """A user of the project, made by a key."""
    reply = await key.post("/v1/users", userId=user_id, **fields)
    assert reply.status == 201, reply.body
    made: dict[str, Any] = reply.json
    return made


async def signed_in(key: Client, user_id: str) -> Client:
    """A client with a session of its own, presented as a header."""
    reply = await key.post(f"/v1/users/{user_id}/sessions")
    assert reply.status == 201, reply.body
    return key.with_(x_appwrite_key=None, x_appwrite_session=reply.json["secret"])


async def guest(key: Client) -> Client:
    return key.with_(x_appwrite_key=None)

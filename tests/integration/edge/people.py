"""Users, and clients that call as one of them."""

from typing import Any

from tests.integration.edge.client import Client


async def user(key: Client, user_id: str, **fields: Any) -> dict[str, Any]:
    """Create a user of the project with a key."""
    reply = await key.post("/v1/users", userId=user_id, **fields)
    assert reply.status == 201, reply.body
    made: dict[str, Any] = reply.json
    return made


async def signed_in(key: Client, user_id: str) -> Client:
    """Return a client with a session of its own, sent in a header."""
    reply = await key.post(f"/v1/users/{user_id}/sessions")
    assert reply.status == 201, reply.body
    return key.with_(x_appwrite_key=None, x_appwrite_session=reply.json["secret"])


async def guest(key: Client) -> Client:
    return key.with_(x_appwrite_key=None)

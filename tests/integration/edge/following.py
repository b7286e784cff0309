"""A client of an event stream. It stays connected until the stream ends or the test disconnects it."""

import asyncio
from typing import Any

import msgspec

from tests.integration.edge.wire import Application

EVENT_STREAM = {"accept": "text/event-stream"}
SECONDS = 60


class Following:
    """`body` is the text received so far, `pieces` the same text in pieces."""

    def __init__(self, edge: Application, headers: dict[str, str], path: str = "/v1/events", query: str = "") -> None:
        self.left = asyncio.Event()
        self.pieces: asyncio.Queue[bytes] = asyncio.Queue()
        self.status, self.body = 0, b""
        self.headers: dict[str, str] = {}
        self._asked = False
        scope = {
            "type": "http", "method": "GET", "scheme": "http", "path": path, "raw_path": path.encode(),
            "query_string": query.encode(), "client": ("203.0.113.7", 1),
            "headers": [(n.lower().encode(), v.encode()) for n, v in {**headers, **EVENT_STREAM}.items()],
        }  # fmt: skip
        self.task = asyncio.ensure_future(edge(scope, self._receive, self._send))

    async def _receive(self) -> dict[str, Any]:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): value.decode("latin-1") for name, value in message["headers"]}
        elif message["body"]:
            self.body += message["body"]
            self.pieces.put_nowait(message["body"])
        if message["type"] == "http.response.body" and not message.get("more_body"):
            self.left.set()  # after an answer, servers say that its reader has left

    async def next(self) -> tuple[int, Any]:
        """Return the next event's id and data, None for a bare id."""
        lines = (await asyncio.wait_for(self.pieces.get(), SECONDS)).decode().strip().split("\n")
        fields = dict(line.split(": ", 1) for line in lines)
        return int(fields["id"]), msgspec.json.decode(fields["data"]) if "data" in fields else None

    async def wait_for(self, text: bytes) -> None:
        """Wait until a text has arrived."""
        async with asyncio.timeout(SECONDS):
            while text not in self.body:
                await asyncio.sleep(0.01)

    async def ended(self) -> None:
        await asyncio.wait_for(self.task, SECONDS)

    async def leave(self) -> None:
        self.left.set()
        await self.ended()

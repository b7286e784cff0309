"""A client of the edge, in this process or another, and a client of an event stream."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode

import msgspec

from tests.client import form
from tests.integration.edge.wire import Application

EVENT_STREAM = {"accept": "text/event-stream"}
SECONDS = 60


class Reply:
    """One answer as it was sent."""

    def __init__(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        self.status, self.body = status, body
        self.headers = {name.decode(): value.decode("latin-1") for name, value in headers}

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)

    @property
    def error(self) -> tuple[int, str]:
        """Status and type of an error, which agree with the envelope."""
        envelope = self.json
        assert set(envelope) == {"message", "code", "type", "version"}
        assert envelope["code"] == self.status
        return self.status, envelope["type"]

    @property
    def message(self) -> str:
        return str(self.json["message"])


class Client:
    """A caller with default headers. `with_` makes another one."""

    def __init__(self, edge: Application, headers: Mapping[str, str], address: str = "203.0.113.7") -> None:
        self._edge, self.headers, self._address = edge, dict(headers), address

    def from_(self, address: str) -> "Client":
        """Return the same caller at another address."""
        return Client(self._edge, self.headers, address)

    def with_(self, **headers: str | None) -> "Client":
        """Return the same caller with some headers changed, or left out if they are None. `_` stands for `-`."""
        changed = {name.replace("_", "-"): value for name, value in headers.items()}
        merged = {**self.headers, **changed}
        kept = {name: value for name, value in merged.items() if value is not None}
        return Client(self._edge, kept, self._address)

    async def get(self, path: str, queries: list[Any] | None = None, /, **query: str) -> Reply:
        pairs = [("queries[]", text if isinstance(text, str) else dumps(text)) for text in queries or []]
        return await self.send("GET", path, query=urlencode([*pairs, *query.items()]))

    async def post(self, path: str, /, **fields: Any) -> Reply:
        return await self.json("POST", path, fields)

    async def put(self, path: str, /, **fields: Any) -> Reply:
        return await self.json("PUT", path, fields)

    async def patch(self, path: str, /, **fields: Any) -> Reply:
        return await self.json("PATCH", path, fields)

    async def delete(self, path: str) -> Reply:
        return await self.send("DELETE", path)

    async def json(self, method: str, path: str, body: Any) -> Reply:
        return await self.send(method, path, content_type="application/json", body=msgspec.json.encode(body))

    async def upload(
        self, path: str, fields: Mapping[str, str], *, file: bytes | None, name: str = "code.tar.gz", **headers: str
    ) -> Reply:
        """Send a multipart form with a `code` part, like the SDKs."""
        content_type, body = form(fields, file, name)
        return await self.with_(**headers).send("POST", path, content_type=content_type, body=body)

    async def send(
        self,
        method: str,
        path: str,
        *,
        query: str = "",
        content_type: str = "",
        body: bytes = b"",
        pieces: int = 1,
        more_headers: Sequence[tuple[bytes, bytes]] = (),
    ) -> Reply:
        """Send any request, its body in some pieces. `more_headers` may repeat names."""
        headers = {**self.headers, **({"content-type": content_type} if content_type else {})}
        step = max(1, -(-len(body) // pieces))
        parts = [body[start : start + step] for start in range(0, len(body), step)] or [b""]
        messages = [
            {"type": "http.request", "body": part, "more_body": number < len(parts)}
            for number, part in enumerate(parts, 1)
        ]
        sent: list[dict[str, Any]] = []
        ended = asyncio.Event()

        async def receive() -> dict[str, Any]:
            if messages:
                return messages.pop(0)
            await ended.wait()
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)
            if message["type"] == "http.response.body" and not message.get("more_body"):
                ended.set()

        scope = {
            "type": "http",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": quote(path).encode(),
            "query_string": query.encode(),
            "headers": [
                *((name.lower().encode(), value.encode()) for name, value in headers.items()),
                *more_headers,
            ],
            "client": (self._address, 1),
        }
        async with asyncio.timeout(120):
            await self._edge(scope, receive, send)
        start, *rest = sent
        return Reply(start["status"], start["headers"], b"".join(message["body"] for message in rest))


def dumps(query: Any) -> str:
    return msgspec.json.encode(query).decode()


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

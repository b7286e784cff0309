"""`context.req`: the request as the function sees it."""

from __future__ import annotations

import json
from typing import Any

HIDDEN = "x-open-runtimes-"
DEFAULT_PORTS = {"https": 443, "http": 80}


class Request:
    """The request. Bodies are parsed when they are read, so an invalid one fails only functions that read it."""

    def __init__(self, method: str, target: str, headers: dict[str, str], body: bytes) -> None:
        self.method = method
        self.headers = headers
        self.body_binary = body
        self.scheme = headers.get("x-forwarded-proto") or "http"
        self.host, self.port = split_host(headers.get("host", ""), self.scheme)
        path, _, self.query_string = target.partition("#")[0].partition("?")
        self.path = path
        self.query = parse_query(self.query_string)
        self.url = self.scheme + "://" + self.host
        if self.port != DEFAULT_PORTS.get(self.scheme, 80):
            self.url += f":{self.port}"
        self.url += path
        if self.query_string:
            self.url += "?" + self.query_string

    @property
    def body_text(self) -> str:
        return self.body_binary.decode("utf-8")

    @property
    def body_json(self) -> Any:
        return json.loads(self.body_text)

    @property
    def body_raw(self) -> str:
        """Deprecated: `body_text`."""
        return self.body_text

    @property
    def body(self) -> Any:
        if self.headers.get("content-type", "").lower().startswith("application/json"):
            return self.body_json if self.body_binary else {}
        return self.body_text


def visible_headers(headers: dict[str, str], enforced: dict[str, str]) -> dict[str, str]:
    """Return the request's headers, without the control plane's headers and with the enforced ones."""
    visible = {name: value for name, value in headers.items() if not name.startswith(HIDDEN)}
    visible.update(enforced)
    return visible


def origin_form(target: str) -> str:
    """Return the path and query of a request target; proxies may send a whole URL (RFC 9112 §3.2.2)."""
    if not target.startswith(("http://", "https://")):
        return target
    authority, slash, rest = target.partition("://")[2].partition("/")
    return "/" + rest if slash else "/" + authority[len(authority.partition("?")[0]) :]


def split_host(host: str, scheme: str) -> tuple[str, int]:
    name, port = host, ""
    end = host.rfind("]")  # an IPv6 address keeps its colons
    colon = host.find(":", end + 1)
    if colon >= 0:
        name, port = host[:colon], host[colon + 1 :]
    if port.isascii() and port.isdigit():
        return name, int(port)
    return name, DEFAULT_PORTS.get(scheme, 80)


def parse_query(text: str) -> dict[str, str]:
    """Return the query's fields without percent-decoding; the last one of a repeated key counts."""
    query: dict[str, str] = {}
    if text:
        for piece in text.split("&"):
            name, _, value = piece.partition("=")
            if name:
                query[name] = value
    return query

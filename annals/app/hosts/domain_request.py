"""A domain request: a request to a function's own host name, which runs the function instead of the API.

http-api.md 12 has the contract. Browsers get a page if the function answers with no page of its own.
"""

import ipaddress
import re
from html import escape
from http import HTTPStatus
from typing import Any

import msgspec

from annals.app.edge.answers import Answer, Header
from annals.app.edge.call import Call
from annals.app.edge.cors import host_of
from annals.app.edge.error_answers import Envelope
from annals.app.errors import AccessForbidden, BuildCanceled, BuildFailed, ExecutePermissionMissing
from annals.app.executions.parameters import BODY_LIMIT
from annals.app.executions.run import Finished, run_now
from annals.app.identity.caller import GUEST, Caller
from annals.app.parameters.body import whole
from annals.app.parameters.special import CONTROL
from annals.app.reads import Lookup
from annals.app.services import Services
from annals.application.executions.context import ACTIVE, Context, context_from
from annals.application.executions.prepare import require_runtime
from annals.domain.errors import (
    BuildNotReady,
    DeploymentNotFound,
    FunctionNotFound,
    RuleNotFound,
)
from annals.domain.ports import UNANSWERED_STATUS
from annals.settings import Settings
from annals.store.postgres import sql

QUERIES = sql.load(__package__, "domain_request.sql")
RULE = Lookup(QUERIES["rules"], 1)
CONTEXT = Lookup(ACTIVE, 2)
_PUBLIC = frozenset({"any", "guests"})
_HOP_BY_HOP = frozenset(
    {"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"}
)
_DROPPED = _HOP_BY_HOP | {"content-length"}
_NAME = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]+", re.ASCII)


_PHRASES = {status.value: status.phrase for status in HTTPStatus}
_HTML: Header = (b"content-type", b"text/html; charset=UTF-8")
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{status} {phrase}</title>
<style>
  :root {{ color-scheme: light dark; }}
  body {{ font: 1rem/1.5 system-ui, sans-serif; margin: 0; min-height: 100vh; display: grid; place-items: center; }}
  main {{ max-width: 34rem; padding: 2rem; }}
  h1 {{ font-size: 1.5rem; margin: 0 0 .5rem; }}
  code {{ opacity: .7; }}
</style>
</head>
<body>
<main>
<h1>{status} {phrase}</h1>
{rest}</main>
</body>
</html>
"""


def host_name(host: bytes) -> str:
    """Return the name in a `Host` header, in lower case and without the port."""
    text = host.decode("latin-1").lower()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0].rstrip(".")


def is_own(name: str, settings: Settings) -> bool:
    """Return True if a host name always means the API: its name for clients or for functions, or an address."""
    if name in {"", "localhost", host_of(settings.endpoint), host_of(settings.functions_endpoint), settings.host}:
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def request_kind(host: bytes, settings: Settings) -> type[Call]:
    """Return the class of a request by its `Host` header. A name that is not the instance's own may be a function's."""
    return Call if is_own(host_name(host), settings) else DomainRequest


class DomainRequest(Call):
    """A request whose host name may be a function's. It runs as a guest of that function's project."""

    __slots__ = ("is_function", "name", "project")

    def __init__(self, scope: dict[str, Any], receive: Any, services: Services, request_id: str) -> None:
        super().__init__(scope, receive, services, request_id)
        self.name = host_name(self.headers.get(b"host", b""))
        self.project = ""
        self.is_function = False

    @property
    def project_id(self) -> str:
        return self.project if self.is_function else super().project_id

    async def caller(self) -> Caller:
        return GUEST if self.is_function else await super().caller()

    async def answer_by_host(self) -> Answer | None:
        """Return the function's answer, or None if no function has the name: then the API answers.

        Raises the errors of http-api.md 12, SynchronousTimeout, ClientGone, StoreUnavailable.
        """
        domain = self.services.settings.functions_domain
        self.is_function = self.name == domain or self.name.endswith(f".{domain}")
        if self.name == domain:
            raise AccessForbidden("The functions domain itself runs no function. Use a name below it that has a rule.")
        found = await self.services.reads.look_up(RULE, self.name)
        self.seen(found.position)
        if not found.rows:
            if self.is_function:
                raise RuleNotFound(f"No rule has the domain {self.name}.")
            return None
        rule = found.rows[0]
        self.is_function, self.project = True, rule["project_id"]
        self.log.project = self.project
        context = await self._context(rule["function_id"])
        self.values = {
            "method": self.method,
            "path": self._target(),
            "headers": self._sent_headers(),
            "body": await whole(self.pieces(), BODY_LIMIT),
        }
        self.services.fair_queue.record_call(self.project)
        return _answer(await run_now(self, context), head=self.method == "HEAD")

    def present_error(self, answer: Answer) -> Answer:
        return _error_page(answer) if self.is_function else answer

    async def _context(self, function_id: str) -> Context:
        found = await self.services.reads.look_up(CONTEXT, self.project, function_id)
        if not found.rows or not found.rows[0]["enabled"]:
            raise FunctionNotFound
        context = context_from(found.rows[0])
        if _PUBLIC.isdisjoint(context.execute):
            raise ExecutePermissionMissing
        require_runtime(context)
        if context.deployment is None:
            raise DeploymentNotFound
        if context.deployment.status != "ready":
            errors = {"failed": BuildFailed, "canceled": BuildCanceled}
            raise errors.get(context.deployment.status, BuildNotReady)
        return context

    def _target(self) -> str:
        """Return path and query as the client sent them."""
        path = (self.scope.get("raw_path") or self.scope["path"].encode()).decode("latin-1").partition("?")[0] or "/"
        query = self.scope["query_string"].decode("latin-1")
        return f"{path}?{query}" if query else path

    def _sent_headers(self) -> dict[str, str]:
        """Return the headers for the code, repeated ones joined. Those of the connection and of the platform are
        left out."""
        sent: dict[str, str] = {}
        for raw_name, raw_value in self.scope["headers"]:
            name, value = raw_name.decode("latin-1").lower(), _text(raw_value)
            if name in _HOP_BY_HOP or name.startswith(("x-appwrite-", "x-open-runtimes-")):
                continue
            sent[name] = f"{sent[name]}{'; ' if name == 'cookie' else ', '}{value}" if name in sent else value
        return sent


def _text(value: bytes) -> str:
    """Return a header decoded as UTF-8 if it is valid UTF-8, so that the code gets the same bytes."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _answer(finished: Finished, *, head: bool) -> Answer:
    """Return the answer without invalid headers: code may write to its socket itself and send anything."""
    execution = finished.execution
    response_headers = execution.response_headers
    headers: list[Header] = [
        (name.encode(), header.value.encode())
        for header in (() if isinstance(response_headers, msgspec.Raw) else response_headers)
        if (name := header.name.lower()) not in _DROPPED and _NAME.fullmatch(name) and not CONTROL.search(header.value)
    ]
    status = execution.response_status_code or UNANSWERED_STATUS
    if status < 200:
        return _page(502, f"<p>The function answered with status {status}, which is not a final status in HTTP.</p>\n")
    if status >= 400 and not finished.body and not head:
        return _page(status, "", headers)
    return Answer(status, finished.body, headers)


def _page(status: int, rest: str, headers: list[Header] | None = None) -> Answer:
    """Return a page for a status. `rest` is HTML, and `headers` come before those of the page."""
    phrase = _PHRASES.get(status, "Error")
    others = [header for header in headers or () if header[0] != b"content-type"]
    return Answer(status, _PAGE.format(status=status, phrase=phrase, rest=rest).encode(), [*others, _HTML])


def _error_page(answer: Answer) -> Answer:
    """Return an error's envelope as a page."""
    envelope = msgspec.json.decode(answer.body, type=Envelope)
    rest = f"<p>{escape(envelope.message)}</p>\n<p><code>{escape(envelope.type)}</code></p>\n"
    return _page(answer.status, rest, answer.headers)

"""One request on its way through the edge: its parameters, its caller, and the headers and hints of its answer.

One file because the caller, the parameters and the body of a request depend on one another in a fixed order.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from annals.app.edge import cors, hints
from annals.app.edge.answers import Answer
from annals.app.edge.declared import Declared
from annals.app.edge.negotiation import ApiVersion, negotiate
from annals.app.errors import ApiDisabled, RequestTooSlow, ServiceDisabled, UnknownOrigin
from annals.app.identity import credentials
from annals.app.identity.caller import Caller
from annals.app.parameters.body import body_parameters, query_parameters, whole
from annals.app.parameters.kinds import Boolean, ValidationError
from annals.app.reads import ReadResult
from annals.app.services import Services
from annals.capacity.fair_queue import Permit
from annals.domain.errors import ArgumentInvalid, DomainError
from annals.domain.project import CONSOLE, REST
from annals.store.ids import generate_id
from annals.store.log.log import Meta
from annals.store.log.request import Incarnation
from annals.telemetry.logging import RequestContext

MOST_SKIPPED = 64 * 1024 * 1024
"""Most bytes of an unwanted body that are read and dropped, so that the client receives the answer."""

SKIP_SECONDS = 10.0

BODY_SECONDS = 60.0
"""Seconds that a body may take, in addition to the time of its bytes at SLOWEST."""

SLOWEST = 16 * 1024
"""Bytes a second below which a client only blocks a connection."""


NEVER = 2**63 - 1
"""A position that no log reaches."""

_LOOSE = Boolean(loose=True)


def service_of(route: str) -> str:
    """The service that a project may switch off: the first word below /v1 of a route's path."""
    return route.split("/")[2] if route.startswith("/v1/") else ""


class ClientGone(Exception):
    """The client closed the connection before its request was complete."""


class Call:
    """A request. `values` are its validated parameters. `position` is the log's position of what was read so far."""

    __slots__ = (
        "_access",
        "_caller",
        "_claim",
        "_origins",
        "_parent",
        "_query",
        "_received",
        "_user",
        "answer_headers",
        "api_version",
        "begins_early",
        "declared",
        "gone",
        "headers",
        "hints",
        "log",
        "method",
        "origin_known",
        "path_values",
        "permit",
        "position",
        "position_is_fixed",
        "prefetched",
        "receive",
        "request_id",
        "reserved_id",
        "scope",
        "services",
        "values",
    )  # fmt: skip

    is_function = False
    """True if a function answers on its own host name: the answer gets none of the edge's headers."""

    def __init__(self, scope: dict[str, Any], receive: Any, services: Services, request_id: str) -> None:
        self.scope, self.receive, self.services, self.request_id = scope, receive, services, request_id
        self.log = RequestContext(request_id)
        self.gone = self.begins_early = False
        self.method: str = scope["method"]
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        if (
            len(self.headers) < len(scope["headers"]) and b"cookie" in self.headers
        ):  # a proxy may send several cookie headers
            self.headers[b"cookie"] = b"; ".join(value for name, value in scope["headers"] if name == b"cookie")
        self.api_version: ApiVersion = negotiate(self.header(b"x-appwrite-response-format"))
        self.values: dict[str, Any] = {}
        self.answer_headers: list[tuple[bytes, bytes]] = []
        self.hints: list[str] = []
        self.position, self.position_is_fixed = 0, False
        self.reserved_id = ""
        self.permit: Permit | None = None
        self.prefetched: asyncio.Future[ReadResult] | None = None
        self._received = False
        self._query: dict[str, Any] | None = None
        self._claim: credentials.CredentialClaim | None = None
        self._access: asyncio.Future[ReadResult] | None = None
        self._user: asyncio.Future[ReadResult] | None = None
        self._parent: asyncio.Future[ReadResult] | None = None
        self._origins: asyncio.Future[ReadResult] | None = None
        self.origin_known = False
        self._caller: Caller | None = None
        self.declared: Declared
        self.path_values: dict[str, str] = {}

    async def answer_by_host(self) -> Answer | None:
        """Return the answer of the function whose host name the request has. It is None for requests of the API."""
        return None

    def present_error(self, answer: Answer) -> Answer:
        """Return an error's answer in the form that the client expects."""
        return answer

    def header(self, name: bytes) -> str:
        """Return a header's text, or an empty text if it was not sent."""
        value = self.headers.get(name)
        return value.decode("latin-1") if value else ""

    @property
    def query(self) -> dict[str, Any]:
        if self._query is None:
            self._query = query_parameters(self.scope["query_string"])
        return self._query

    @property
    def route(self) -> str:
        """The path of the route that was met, as in `/v1/functions/{functionId}`; empty for none."""
        return str(self.scope.get("path_template", ""))

    @property
    def asks_as_of(self) -> bool:
        """True if a past state is requested of an operation that supports it."""
        return self.declared["as_of"] and self.query.get("asOf") is not None

    def refuse_unknown_as_of(self) -> None:
        """Raise ArgumentInvalid for `asOf` on an operation that only knows the present."""
        if self.scope["query_string"] and not self.declared["as_of"] and self.query.get("asOf") is not None:
            raise ArgumentInvalid(
                "Invalid `asOf` param: This operation only knows the present. asOf is for gets and lists of functions,"
                " variables, deployments and executions, for policies and for usage; other resources have a history."
            )

    @property
    def is_dry_run(self) -> bool:
        """True if a write is a dry run. Raises ArgumentInvalid for a `dryRun` that is not a boolean."""
        value = self.query.get("dryRun") if self.method not in {"GET", "HEAD"} else None
        if value is None:
            return False
        try:
            return _LOOSE.parse(value)
        except ValidationError as invalid:
            raise ArgumentInvalid(f"Invalid `dryRun` param: {invalid}") from None

    @property
    def address(self) -> str:
        """The client's address, from the connection or from a trusted proxy."""
        client = self.scope.get("client")
        return str(client[0]) if client else ""

    @property
    def host(self) -> str:
        """The host name in the request, without the port."""
        return self.header(b"host").rpartition(":")[0] or self.header(b"host") or "localhost"

    @property
    def project_id(self) -> str:
        """The named project. Whether it exists is checked with the caller."""
        return self._claim.project if self._claim else ""

    @property
    def realm(self) -> str:
        """The realm of users and teams: the named project, otherwise the console."""
        return self.project_id or CONSOLE

    @property
    def claims_key(self) -> bool:
        """True if an API key was sent."""
        return self._claim is not None and self._claim.is_key

    @property
    def reads_early(self) -> bool:
        """True if reads may begin before the caller is known: for guests, and for credentials that were valid
        lately."""
        credential = self._claim.credential if self._claim else None
        return credential is None or credential in self.services.known

    def identify(self) -> None:
        """Read the caller's claim and start its lookups. Raises the errors that need no lookup."""
        self._caller = None
        named = self.query.get("project", "") if self.scope["query_string"] else ""
        named = named if isinstance(named, str) else ""
        self._claim = credentials.claim(self.headers, named, newest=self.api_version.newest)
        look_up = self.services.reads.look_up
        if self._claim.user is not None:
            self._user = look_up(credentials.USERS, *self._claim.user.key)
        if (parent := self._claim.parent_lookup) is not None:
            self._parent = look_up(parent[0], *parent[1])
        if self._claim.project:
            self._access = look_up(credentials.ACCESS, self._claim.project, self._claim.standard)
            self._access.add_done_callback(self._confirm_data_key)
            if b"origin" in self.headers and not self._claim.is_key:
                self._origins = look_up(credentials.ORIGINS, self._claim.project)
            if (prefetch := self.declared["prefetch"]) is not None and self.reads_early:
                self.prefetched = look_up(prefetch, self._claim.project, self.path_values["functionId"])

    def _confirm_data_key(self, access: "asyncio.Future[ReadResult]") -> None:
        """Tell the vault the project's data key before it opens values that were read at the same time or later."""
        if not access.cancelled() and access.exception() is None:
            self.services.vault.confirm(self.project_id, access.result().rows[0]["data_key"])

    async def authenticate(self) -> Caller:
        """Return the caller and remember whether the credential is valid. Raises as `caller`, and RateLimited for
        many wrong keys."""
        try:
            caller = await self.caller()
        except DomainError:
            await self._fail()
            raise
        if caller.word == "guests":
            await self._fail()
        elif self._claim is not None:
            self.services.known.add(self._claim.credential)
        return caller

    async def _fail(self) -> None:
        """Forget an invalid credential, and delay the answer if it is a key. Raises RateLimited."""
        if self._claim is not None:
            self.services.known.discard(self._claim.credential)
        if self.claims_key:
            await self.services.wrong_key_delay.delay(self.address)

    async def caller(self) -> Caller:
        """Return the caller. Raises ProjectNotFound, UserUnauthorized, KeyExpired, JwtInvalid, UserBlocked."""
        if self._caller is None:
            looked = credentials.Looked(
                await self._found(self._access), await self._found(self._user), await self._found(self._parent)
            )
            secrets = credentials.Secrets(self.services.signing_secret, self.services.token_secret)
            claim = self._claim or credentials.CredentialClaim("")
            self._caller = await credentials.judge(claim, looked, secrets, host=self.host, now=self.services.now())
        return self._caller

    async def incarnation(self) -> int:
        """Return the position at which the named project was created. Earlier events do not belong to the project.

        0 for the console, whose log begins with the instance's; NEVER for a project that does not exist.
        """
        access = await self._found(self._access)
        if access is None:
            return 0
        row = access.rows[0]
        return int(row["incarnation"]) if row["known"] else NEVER

    async def admit(self) -> None:
        """Check the request's origin and the project's switches.

        Raises UnknownOrigin, ApiDisabled, ServiceDisabled, and as `caller`.
        """
        caller = await self.caller()
        await self._judge_origin()
        access = await self._found(self._access)
        disabled = access.rows[0]["disabled"] if access is not None else ()
        if not disabled or caller.privileged:
            return
        if REST in disabled:
            raise ApiDisabled
        if service_of(self.route) in disabled:
            raise ServiceDisabled

    async def _judge_origin(self) -> None:
        """Check that the page's origin is known. Keys may call from anywhere, and so may guests without a project."""
        claim = self._claim
        if b"origin" not in self.headers or claim is None or claim.is_key:
            return
        own = (self.host.lower(), cors.host_of(self.services.settings.endpoint))
        found = await self._found(self._origins)
        platforms = [row["hostname"] for row in found.rows] if found is not None else []
        self.origin_known = cors.is_known(self.header(b"origin"), own, platforms)
        if not self.origin_known and (claim.project or claim.user is not None):
            raise UnknownOrigin

    async def _found(self, looked_up: "asyncio.Future[ReadResult] | None") -> ReadResult | None:
        if looked_up is None:
            return None
        found = await looked_up
        self.seen(found.position)
        return found

    def new_id(self) -> str:
        """Return an id for a new resource: the one reserved with the idempotency key, or a fresh one."""
        return self.reserved_id or generate_id()

    def hint(self, sentence: str) -> None:
        """Add a sentence to the answer's hints. An empty sentence adds nothing."""
        if sentence and sentence not in self.hints:
            self.hints.append(sentence)

    def seen(self, position: int) -> None:
        """Note that the answer depends on the log up to this position."""
        if position > self.position and not self.position_is_fixed:
            self.position = position

    def fix_position(self, position: int) -> None:
        """Note that the answer is that of a past position. Later reads do not change it."""
        self.position, self.position_is_fixed = position, True

    async def meta(self) -> Meta:
        """Return the metadata of the events of this request."""
        caller = await self.caller()
        return Meta(
            actor=caller.actor,
            request=self.request_id,
            correlation=self.request_id,
            address=self.address,
            depth=str(caller.depth or ""),
            incarnation=await self.authorized_for(),
        )

    async def authorized_for(self) -> Incarnation | None:
        """Return the project's incarnation in which the caller was authorized, or None without a project."""
        access = await self._found(self._access)
        if access is None or not access.rows[0]["known"]:
            return None
        return Incarnation(self.project_id, access.rows[0]["incarnation"])

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield the body as it arrives. Raises ClientGone if the client disconnected, RequestTooSlow."""
        began, arrived = asyncio.get_running_loop().time(), 0
        while not self._received:
            try:
                async with asyncio.timeout_at(began + BODY_SECONDS + arrived / SLOWEST):
                    message = await self.receive()
            except TimeoutError:
                self._received = True  # no more of this request is read
                raise RequestTooSlow from None
            if message["type"] == "http.disconnect":
                self.gone = True
                raise ClientGone
            self._received = not message.get("more_body", False)
            if piece := message.get("body", b""):
                arrived += len(piece)
                yield piece

    async def skip_rest(self) -> None:
        """Read the rest of the body: a client that is still sending would miss the answer."""
        if (
            self.gone
            or self._received
            or not (b"content-length" in self.headers or b"transfer-encoding" in self.headers)
        ):
            return
        skipped = 0
        with contextlib.suppress(TimeoutError, ClientGone):
            async with asyncio.timeout(SKIP_SECONDS):
                async for piece in self.pieces():
                    skipped += len(piece)
                    if skipped > MOST_SKIPPED:
                        return

    async def sent(self) -> dict[str, Any]:
        """Return the parameters as sent; path values replace those of body or query.

        Raises ArgumentInvalid for a body over its limit.
        """
        if self.method in {"GET", "HEAD"}:
            sent = self.query
        else:
            limit = self.declared["body_limit"]
            announced = self.header(b"content-length")
            if announced.isdigit() and len(announced) < 19 and int(announced) > limit:
                raise ArgumentInvalid(f"The request's body is larger than {limit} bytes.")
            body = await whole(self.pieces(), limit)
            sent = body_parameters(self.header(b"content-type"), body)
            if not sent:
                self.hint(hints.of_body(self.header(b"content-type"), body))
        return {**sent, **self.path_values} if self.path_values else sent

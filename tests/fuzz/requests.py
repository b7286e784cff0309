"""The valid requests that raw fuzzing starts from: at least one of every kind that an instance reads."""

import hashlib
import hmac
import json
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

from tests.client import Client, packed
from tests.instance import AnnalsInstance, annals

DOMAIN = "fuzz.functions.localhost"
"""The host name of the function, which answers its requests."""

PROJECT, FUNCTION, INSTALLATION = "fuzz-raw", "fuzzed", "fuzzed"
SECRET = "a secret of the webhook"
ECHO = """
module.exports = async ({ req, res }) => res.text(`${req.method} ${req.bodyText}`.slice(0, 1000));
"""
JSON_TYPE = (b"Content-Type", b"application/json")
FORM_TYPE = (b"Content-Type", b"multipart/form-data; boundary=fuzzed")

Headers = tuple[tuple[bytes, bytes], ...]


class Request(NamedTuple):
    """A request; its encoding adds the length of its body."""

    method: bytes
    target: bytes
    headers: Headers
    body: bytes = b""


class World(NamedTuple):
    """The endpoint and the keys of the fuzzed project."""

    endpoint: str
    key: str
    low_key: str

    @property
    def host(self) -> bytes:
        return urlsplit(self.endpoint).netloc.encode()


def world(instance: AnnalsInstance) -> World:
    """Create a project with a running function, its host name, and an installation that signs pushes."""
    data = ("--data", str(instance.data), "--json")
    key = _made("projects", "create", "--id", PROJECT, *data)
    low_key = _made("keys", "create", "--project", PROJECT, "--scope", "functions.read", *data)
    client = Client(instance.endpoint, {"X-Appwrite-Project": PROJECT, "X-Appwrite-Key": key})
    client.function(FUNCTION, ECHO, execute=["any"])
    client.call("POST", "/proxy/rules/function", json={"domain": DOMAIN, "functionId": FUNCTION})
    installation = {"installationId": INSTALLATION, "provider": "git", "url": "https://127.0.0.1"}
    client.call("POST", "/vcs/installations", json={**installation, "webhookSecret": SECRET})
    client.http.close()
    return World(instance.endpoint, key, low_key)


def _made(*command: str) -> str:
    made = annals(*command)
    assert made.returncode == 0, made.stderr
    answer = json.loads(made.stdout)
    return str(answer.get("key") or answer.get("secret"))


BODIES: dict[str, dict[str, Any]] = {
    "POST /functions": {
        "functionId": "unique()",
        "name": "a",
        "runtime": "node-22",
        "execute": ["any"],
        "timeout": 15,
        "events": ["users.*.create"],
        "schedule": "0 0 * * *",
        "scopes": ["users.read"],
        "enabled": True,
    },
    f"PUT /functions/{FUNCTION}": {
        "name": "fuzzed",
        "runtime": "node-22",
        "entrypoint": "index.js",
        "execute": ["any"],
    },
    f"POST /functions/{FUNCTION}/variables": {"key": "A", "value": "b", "secret": False},
    f"POST /functions/{FUNCTION}/executions": {
        "body": "hello",
        "async": False,
        "path": "/a?b=c",
        "method": "POST",
        "headers": {"x-a": "b"},
    },
    f"POST /functions/{FUNCTION}/executions?": {"async": True, "scheduledAt": "2099-01-01T00:00:00.000+00:00"},
    f"POST /functions/{FUNCTION}/deployments/template": {
        "repository": "a",
        "owner": "b",
        "rootDirectory": "c",
        "type": "branch",
        "reference": "main",
    },
    f"POST /functions/{FUNCTION}/deployments/vcs": {"type": "branch", "reference": "main", "activate": False},
    f"POST /functions/{FUNCTION}/revert?dryRun=true": {"version": 1},
    f"PATCH /functions/{FUNCTION}/policy": {"maxConcurrency": 4, "attempts": 2},
    f"PATCH /functions/{FUNCTION}/deployment?dryRun=true": {"deploymentId": "a"},
    "POST /users": {"userId": "unique()", "email": "a@example.test", "password": "correct horse", "name": "a"},
    "POST /account": {"userId": "unique()", "email": "b@example.test", "password": "correct horse"},
    "POST /account/sessions/email": {"email": "a@example.test", "password": "wrong horse"},
    "POST /account/jwts": {"duration": 900},
    "POST /teams": {"teamId": "unique()", "name": "a", "roles": ["owner"]},
    "POST /proxy/rules/function": {"domain": "a.functions.localhost", "functionId": FUNCTION},
    "POST /vcs/installations": {"installationId": "unique()", "provider": "git", "url": "https://127.0.0.1"},
    "POST /project/variables": {"key": "A", "value": "b"},
    "POST /project/platforms/web": {"name": "a", "hostname": "a.example.test"},
    "POST /projects/fuzz-raw/keys": {"name": "a", "scopes": ["users.read"]},
    "POST /dead-letters/redrive": {"functionId": FUNCTION},
}

_QUERIES = [
    {"method": "equal", "attribute": "name", "values": ["a"]},
    {"method": "and", "values": [{"method": "search", "attribute": "name", "values": ["a"]}]},
    {"method": "between", "attribute": "$createdAt", "values": ["2020-01-01", "2030-01-01"]},
    {"method": "orderDesc", "attribute": "$id"},
    {"method": "cursorAfter", "values": [FUNCTION]},
]
_AS_OF = "asOf=2030-01-01T00%3A00%3A00.000%2B00%3A00"
READS = (
    "/functions",
    *(f"/functions?queries[]={quote(json.dumps(query))}&total=true&search=a" for query in _QUERIES),
    *(f"/functions/{FUNCTION}{rest}" for rest in ("", "/usage?range=24h", "/variables", "/policy", "/history")),
    *(f"/functions/{FUNCTION}/{rest}?{_AS_OF}" for rest in ("deployments", "executions")),
    f"/functions/{FUNCTION}/diff?from=1&to=2",
    f"/functions/{FUNCTION}/deployments/a/download?type=source",
    *("/functions/runtimes", "/functions/specifications", "/functions/templates?limit=5&offset=1"),
    *("/users?search=a", "/teams", "/account", "/proxy/rules", "/vcs/installations", "/dead-letters"),
    *("/events?limit=5", "/events/1", "/events/1/proof", "/checkpoints", "/checkpoints/latest"),
    *("/usage?range=30d", "/project", "/project/variables", "/health", "/health/version", "/limits"),
)


@lru_cache
def corpus(world: World) -> tuple[Request, ...]:
    """Return every valid request."""
    as_key = _headers(world, world.key)
    found = [Request(b"GET", f"/v1{path}".encode(), as_key) for path in READS]
    for line, sent in BODIES.items():
        method, _, path = line.partition(" ")
        body = json.dumps(sent).encode()
        found.append(Request(method.encode(), f"/v1{path}".encode(), (*as_key, JSON_TYPE), body))
    return (*found, *_uploads(as_key), *_pushes(world), *_host_requests(), *_of_other_callers(world))


def _headers(world: World, key: str) -> Headers:
    return (
        (b"Host", world.host),
        (b"X-Appwrite-Project", PROJECT.encode()),
        (b"X-Appwrite-Key", key.encode()),
        (b"X-Appwrite-Response-Format", b"2.5.0"),
        (b"Accept", b"application/json"),
    )


def part(disposition: str, content: bytes) -> bytes:
    """Return one part of a form with the boundary of FORM_TYPE."""
    return b"--fuzzed\r\nContent-Disposition: form-data; %b\r\n\r\n%b\r\n" % (disposition.encode(), content)


def _uploads(as_key: Headers) -> list[Request]:
    archive = packed({"index.js": ECHO})
    code = part('name="code"; filename="code.tar.gz"', archive)
    body = part('name="activate"', b"false") + part('name="entrypoint"', b"index.js") + code + b"--fuzzed--\r\n"
    target = f"/v1/functions/{FUNCTION}/deployments".encode()
    chunk = ((b"Content-Range", b"bytes 0-%d/9000000" % (len(archive) - 1)), (b"X-Appwrite-Id", b"fuzzed"))
    sent_body = part('name="body"', b"\xff\x00") + part('name="async"', b"false") + b"--fuzzed--\r\n"
    return [
        Request(b"POST", target, (*as_key, FORM_TYPE), body),
        Request(b"POST", target, (*as_key, FORM_TYPE, *chunk), body),
        Request(b"POST", f"/v1/functions/{FUNCTION}/executions".encode(), (*as_key, FORM_TYPE), sent_body),
        Request(b"GET", target + b"/fuzzed/download", (*as_key, (b"Range", b"bytes=0-99"))),
    ]


def signed(body: bytes) -> tuple[bytes, bytes]:
    """Return the signature header with which the installation accepts a push."""
    digest = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    return b"X-Hub-Signature-256", f"sha256={digest}".encode()


def _pushes(world: World) -> list[Request]:
    commit = {"id": "a" * 40, "message": "a", "author": {"name": "b"}, "added": ["c"], "modified": [], "removed": []}
    repository = {"id": 42, "name": "app", "full_name": "team/app", "owner": {"login": "team"}}
    push = {"ref": "refs/heads/main", "after": "a" * 40, "repository": repository, "commits": [commit]}
    body = json.dumps({**push, "head_commit": commit, "sender": {"login": "b"}}).encode()
    target = f"/v1/vcs/installations/{INSTALLATION}/pushes?project={PROJECT}".encode()
    headers = ((b"Host", world.host), JSON_TYPE, (b"X-GitHub-Event", b"push"), signed(body))
    return [Request(b"POST", target, headers, body)] * 2


def _host_requests() -> list[Request]:
    headers = ((b"Host", DOMAIN.encode()), (b"Cookie", b"a=b"), (b"X-A", b"b"))
    return [
        Request(b"GET", b"/a/b?c=d", headers),
        Request(b"HEAD", b"/", headers),
        Request(b"POST", b"/", (*headers, JSON_TYPE), b'{"a": "b"}'),
        Request(b"GET", b"/", ((b"Host", b"nobody.functions.localhost"),)),
    ]


def _of_other_callers(world: World) -> list[Request]:
    low = _headers(world, world.low_key)
    guest = low[:2]
    forged = (*guest, (b"X-Appwrite-JWT", b"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.AAAA"))
    cookie = (*guest, (b"Cookie", b"a_session_fuzz-raw=YTpi"), (b"Origin", b"https://a.example.test"))
    execution = json.dumps(BODIES[f"POST /functions/{FUNCTION}/executions"]).encode()
    return [
        *(Request(b"GET", b"/v1/functions", headers) for headers in (low, guest, forged, cookie)),
        Request(b"POST", b"/v1/functions", (*low, JSON_TYPE), b'{"functionId":"a","name":"a","runtime":"node-22"}'),
        Request(b"POST", f"/v1/functions/{FUNCTION}/executions".encode(), (*guest, JSON_TYPE), execution),
        Request(b"OPTIONS", b"/v1/functions", (*guest, (b"Access-Control-Request-Method", b"PUT"))),
        Request(b"GET", b"/openapi.json?format=1.8.0", guest),
        Request(b"GET", b"/docs/start.js", guest),
        Request(b"GET", b"/metrics", guest),
    ]

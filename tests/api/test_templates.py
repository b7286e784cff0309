"""Every bundled template, deployed, built and run on a real instance."""

import gzip
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.client import Client
from tests.instance import AnnalsInstance

COMMANDS = {"node": "npm install", "python": "pip install -r requirements.txt"}
SECRET = "what the sender signs with"


class Store(ThreadingHTTPServer):
    """An HTTP store: it keeps the bodies of PUT for GET, and records the bodies of POST."""

    def __init__(self) -> None:
        stored: dict[str, bytes] = {}
        posted: list[tuple[str, Any]] = []

        class Handler(BaseHTTPRequestHandler):
            def do_PUT(self) -> None:
                taken = self.headers.get("if-none-match") == "*" and self.path in stored
                body = self._body()
                if not taken:
                    stored[self.path] = body
                self._answer(412 if taken else 201)

            def do_GET(self) -> None:
                found = stored.get(self.path)
                self._answer(404 if found is None else 200, found or b"")

            def do_POST(self) -> None:
                posted.append((self.headers.get("authorization", ""), json.loads(self._body())))
                self._answer(202)

            def _body(self) -> bytes:
                return self.rfile.read(int(self.headers["content-length"]))

            def _answer(self, status: int, body: bytes = b"") -> None:
                self.send_response(status)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Log nothing."""

        super().__init__(("127.0.0.1", 0), Handler)
        self.stored, self.posted = stored, posted
        self.url = f"http://127.0.0.1:{self.server_port}"


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    server = Store()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="module")
def client(annals_instance: AnnalsInstance) -> Client:
    return Client(annals_instance.endpoint, annals_instance.headers)


def deployed(client: Client, folder: str, variables: dict[str, str] | None = None, **fields: Any) -> str:
    """Create a function from a template's folder, wait until it is ready, and return its id."""
    language, _, name = folder.partition("/")
    function_id = f"{language}-{name}-{time.monotonic_ns()}"[-36:]
    runtime = "node-22" if language == "node" else "python-3.11"
    entrypoint = "src/main.js" if language == "node" else "src/main.py"
    client.call(
        "POST",
        "/functions",
        json={
            "functionId": function_id,
            "name": name,
            "runtime": runtime,
            "entrypoint": entrypoint,
            "commands": COMMANDS[language],
            "execute": ["any"],
            **fields,
        },
    )
    for key, value in (variables or {}).items():
        client.call("POST", f"/functions/{function_id}/variables", json={"key": key, "value": value})
    sent = {
        "owner": "appwrite",
        "repository": "templates",
        "rootDirectory": folder,
        "type": "tag",
        "reference": "1.*",
        "activate": True,
    }
    made = client.call("POST", f"/functions/{function_id}/deployments/template", json=sent)
    assert (made["status"], made["sourceSize"]) == ("waiting", 0)
    ready = client.ready(function_id, made["$id"])
    assert ready["sourceSize"] > 0
    assert (ready["providerBranch"], len(ready["providerCommitHash"])) == ("1.1.0", 40)
    return function_id


def ran(client: Client, function_id: str, status: int = 200, **sent: Any) -> dict[str, Any]:
    """Execute a function, check the status of its answer, and return the execution."""
    execution = client.execute(function_id, **sent)
    assert execution["responseStatusCode"] == status, execution
    return execution


@pytest.mark.parametrize("folder", ["node/starter", "python/starter"])
def test_starter_answers(client: Client, folder: str) -> None:
    function_id = deployed(client, folder)
    headers = {"content-type": "application/json"}

    assert ran(client, function_id, method="GET", path="/ping")["responseBody"] == "Pong"
    received = ran(client, function_id, body='{"a": [1]}', headers=headers)
    assert json.loads(received["responseBody"]) == {"received": {"a": [1]}}
    assert "no JSON" in ran(client, function_id, 400, body="{", headers=headers)["errors"]
    report = json.loads(ran(client, function_id, method="GET")["responseBody"])
    assert report["function"] == "starter"


def test_webhook_receiver_accepts_only_valid_signatures(client: Client) -> None:
    function_id = deployed(client, "node/webhook-receiver", {"WEBHOOK_SECRET": f"old,{SECRET}"})
    body = json.dumps({"type": "order.paid", "data": {"id": "o1"}})

    def signed(secret: str, moment: float) -> dict[str, str]:
        stamp = int(moment)
        digest = hmac.new(secret.encode(), f"{stamp}.{body}".encode(), hashlib.sha256).hexdigest()
        return {"x-signature": f"t={stamp},v1={digest}"}

    good = ran(client, function_id, body=body, headers=signed(SECRET, time.time()))
    assert json.loads(good["responseBody"]) == {"handled": True, "order": "o1"}
    plain = "sha256=" + hmac.new(SECRET.encode(), body.encode(), hashlib.sha256).hexdigest()
    unhandled = ran(client, function_id, 202, body=body, headers={"x-hub-signature-256": plain, "x-github-event": "x"})
    assert json.loads(unhandled["responseBody"]) == {"handled": False}
    for headers in (signed("other", time.time()), signed(SECRET, time.time() - 301), {}, {"x-signature": "v1=ab"}):
        ran(client, function_id, 401, body=body, headers=headers)
    ran(client, function_id, 405, method="GET")


def test_shortener_keeps_links_as_its_own_variables(client: Client) -> None:
    variables = {"SHORT_BASE_URL": "https://go.example.org", "ADMIN_TOKEN": "t"}
    function_id = deployed(client, "node/url-shortener", variables, scopes=["functions.read", "functions.write"])
    headers = {"authorization": "Bearer t"}
    wish = json.dumps({"url": "https://example.org/a?b=c", "code": "mine"})

    made = json.loads(ran(client, function_id, 201, body=wish, headers=headers)["responseBody"])
    assert made == {"code": "mine", "short": "https://go.example.org/mine", "url": "https://example.org/a?b=c"}
    followed = ran(client, function_id, 302, method="GET", path="/mine")
    assert {"name": "location", "value": "https://example.org/a?b=c"} in followed["responseHeaders"]
    ran(client, function_id, 409, body=wish, headers=headers)
    ran(client, function_id, 401, body=wish)
    ran(client, function_id, 400, body='{"url": "javascript:alert(1)"}', headers=headers)
    ran(client, function_id, 404, method="GET", path="/none")


def test_shortener_keeps_links_in_an_external_store(client: Client, store: Store) -> None:
    function_id = deployed(client, "node/url-shortener", {"STORE_URL": f"{store.url}/links"})

    made = json.loads(ran(client, function_id, 201, body='{"url": "https://example.org/"}')["responseBody"])

    assert store.stored[f"/links/{made['code']}"] == b"https://example.org/"
    ran(client, function_id, 302, method="GET", path=f"/{made['code']}")
    ran(client, function_id, 409, body=json.dumps({"url": "https://example.org/b", "code": made["code"]}))


def test_converter_turns_csv_into_json(client: Client) -> None:
    function_id = deployed(client, "python/csv-to-json")
    text = 'name;zip;born;member\n"Ada; Lovelace";01234;1815;true\nKarl;999;;false\n'

    rows = json.loads(ran(client, function_id, body=text)["responseBody"])

    assert rows["rows"] == [
        {"name": "Ada; Lovelace", "zip": "01234", "born": 1815, "member": True},
        {"name": "Karl", "zip": 999, "born": None, "member": False},
    ]
    bare = json.loads(ran(client, function_id, body="1,2.5\n", path="/?header=no&types=no")["responseBody"])
    assert bare == {"total": 1, "rows": [["1", "2.5"]]}
    for wrong in ("a,b\n1,2,3\n", "a,a\n1,2\n", 'a,b\n"1,2\n'):
        assert "error" in json.loads(ran(client, function_id, 400, body=wrong)["responseBody"])


def test_backup_stores_copies_and_a_manifest(client: Client, store: Store) -> None:
    store.stored["/source"] = b"what must not be lost" * 100
    variables = {
        "BACKUP_SOURCES": f"main={store.url}/source,gone={store.url}/none",
        "BACKUP_TARGET": f"{store.url}/backups",
        "BACKUP_TARGET_TOKEN": "t",
    }
    function_id = deployed(client, "python/backup", variables, schedule="15 3 * * *")

    report = json.loads(ran(client, function_id, 500)["responseBody"])

    assert report["failed"] == ["gone"]
    folder = report["folder"].removeprefix(store.url)
    assert gzip.decompress(store.stored[f"{folder}/main.gz"]) == store.stored["/source"]
    manifest = json.loads(store.stored[f"{folder}/manifest.json"])
    assert manifest["copies"][0]["sha256"] == hashlib.sha256(store.stored["/source"]).hexdigest()
    assert manifest["copies"][1] == {"name": "gone", "error": "answered 404"}


def test_welcome_mail_is_sent_through_the_configured_service(client: Client, store: Store) -> None:
    variables = {"MAIL_SENDER": "http", "MAIL_API_URL": f"{store.url}/mail", "MAIL_API_TOKEN": "t"}
    function_id = deployed(client, "python/welcome-mail", variables, events=["users.*.create"])
    user = json.dumps({"$id": "u1", "name": "Ada\nBcc: all@example.org", "email": "ada@example.org"})
    headers = {"content-type": "application/json"}

    assert json.loads(ran(client, function_id, body=user, headers=headers)["responseBody"]) == {"sent": True}

    authorization, mail = store.posted[-1]
    assert authorization == "Bearer t"
    assert mail["subject"] == "Welcome, Ada Bcc: all@example.org"
    assert mail["to"].endswith("<ada@example.org>")
    assert "Sign in with ada@example.org." in mail["text"]
    ran(client, function_id, 400, body="{}", headers=headers)


def test_template_that_is_not_bundled_fails_with_the_reason(client: Client) -> None:
    function_id = "not-bundled"
    client.call("POST", "/functions", json={"functionId": function_id, "name": "n", "runtime": "node-22"})
    sent = {"owner": "appwrite", "repository": "templates", "rootDirectory": "node/prompt-chatgpt"}
    made = client.call(
        "POST", f"/functions/{function_id}/deployments/template", json={**sent, "type": "tag", "reference": "1.0.1"}
    )

    ended = client.built(function_id, made["$id"])

    assert (ended["status"], ended["sourceSize"]) == ("failed", 0)
    assert ended["buildLogs"].splitlines()[-1].startswith("The repository has no folder 'node/prompt-chatgpt'")

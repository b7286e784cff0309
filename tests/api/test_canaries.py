"""Secrets of every kind that an instance stores, and every source where none of them may be readable."""

import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from annals.executor.drivers.sandbox import FIRST_UID
from tests.client import Client
from tests.faults.canaries import KNOWN, exported, outside_of_tables, readable_in, tables
from tests.instance import AnnalsInstance, eventually

pytestmark = pytest.mark.timeout(300)
KINDS = ("variable", "opened", "project", "password", "wrong", "session", "git", "webhook", "header", "cookie", "body")
TELLS_LENGTHS = """
module.exports = async ({ req, res, log, error }) => {
  for (let line = 0; line < 10; line++) log(`${req.query.known} ${'-'.repeat(7000)}`)
  error(req.query.known)
  return res.json({
    variable: process.env.VARIABLE.length, opened: process.env.OPENED.length, project: process.env.PROJECT.length,
    header: (req.headers.authorization ?? '').length, body: req.bodyText.length,
  })
}
"""


@pytest.fixture(scope="module")
def canaries() -> dict[str, str]:
    """Return a value for each kind of secret; all share a prefix that is unique on the machine."""
    stem = f"canary{secrets.token_hex(8)}"
    return {kind: f"{stem}.{kind}" for kind in KINDS}


@pytest.fixture(scope="module")
def answers(annals_instance: AnnalsInstance, canaries: dict[str, str]) -> list[str]:
    """Send all secrets to an instance in valid and invalid requests, and return its error answers."""
    client = Client(annals_instance.endpoint, annals_instance.headers)
    client.function("canaries", TELLS_LENGTHS)
    for key, secret in (("VARIABLE", True), ("OPENED", False)):
        fields = {"key": key, "value": canaries[key.lower()], "secret": secret}
        client.call("POST", "/functions/canaries/variables", json=fields)
    client.call("POST", "/project/variables", json={"key": "PROJECT", "value": canaries["project"], "secret": True})
    user = {"userId": "canary", "email": "canary@example.test", "password": canaries["password"]}
    client.call("POST", "/users", json=user)
    host = {
        "installationId": "canaries",
        "provider": "git",
        "url": "https://git.example.test",
        "username": "git",
        "password": canaries["git"],
        "webhookSecret": canaries["webhook"],
    }
    client.call("POST", "/vcs/installations", json=host)
    headers = {"authorization": canaries["header"], "cookie": f"a={canaries['cookie']}"}
    sent = {"headers": headers, "body": canaries["body"], "path": f"/?known={KNOWN}"}
    now = client.execute("canaries", **sent)
    lengths = {kind: len(canaries[kind]) for kind in ("variable", "opened", "project", "header", "body")}
    assert httpx.Response(200, text=now["responseBody"]).json() == lengths
    later = client.execute("canaries", **sent, **{"async": True})
    eventually(lambda: client.execution("canaries", later["$id"])["status"] == "completed", 90)
    _sign_in(annals_instance, user["email"], canaries["password"])
    return list(_refused(annals_instance, client, canaries))


def _sign_in(instance: AnnalsInstance, email: str, password: str) -> None:
    guest = {"X-Appwrite-Project": instance.project}
    sent = {"email": email, "password": password}
    with httpx.Client(base_url=instance.endpoint, headers=guest) as visitor:
        assert visitor.post("/account/sessions/email", json=sent).status_code == 201


def _refused(instance: AnnalsInstance, client: Client, canaries: dict[str, str]) -> Iterator[str]:
    """Yield the errors of requests with a secret in the wrong field, of the wrong kind, or beside a wrong value."""
    guest = {"X-Appwrite-Project": instance.project}
    wrong = [
        ("POST", "/functions/canaries/variables", {"key": "K" * 300, "value": canaries["variable"]}, {}),
        ("POST", "/functions/canaries/variables", {"key": "VARIABLE", "value": canaries["variable"]}, {}),
        ("POST", "/users", {"userId": "no id!", "password": canaries["password"]}, {}),
        ("POST", "/vcs/installations", {"installationId": "w", "provider": "none", "password": canaries["git"]}, {}),
        ("POST", "/functions/canaries/executions", {"headers": {"x": canaries["header"]}, "method": "NONE"}, {}),
        ("GET", "/functions", None, {"X-Appwrite-Key": canaries["session"]}),
        ("GET", "/account", None, {**guest, "X-Appwrite-Session": canaries["session"]}),
        ("GET", "/account", None, {**guest, "X-Appwrite-JWT": canaries["session"]}),
        ("GET", "/functions", None, {"Authorization": f"Bearer {canaries['session']}", "X-Appwrite-Key": "x"}),
        ("POST", "/account/sessions/email", {"email": "canary@example.test", "password": canaries["wrong"]}, guest),
    ]
    for method, path, body, headers in wrong:
        mine = {} if "X-Appwrite-Project" in headers else client.http.headers
        answer = httpx.request(method, instance.endpoint + path, json=body, headers={**mine, **headers}, timeout=60)
        assert 400 <= answer.status_code < 500, f"{method} {path}: {answer.status_code} {answer.text}"
        yield answer.text


def test_error_answers_contain_no_secret(answers: list[str], canaries: dict[str, str]) -> None:
    stem = _stem(canaries)

    assert [text for text in answers if stem in text] == []


def test_secrets_are_not_in_files_logs_command_lines_metrics_or_the_queue(
    answers: list[str], annals_instance: AnnalsInstance, canaries: dict[str, str]
) -> None:
    assert answers
    stem = _stem(canaries)

    found = readable_in(outside_of_tables(annals_instance), stem, KNOWN)

    assert found[stem] == set()
    assert any("/blobs/contents/" in source for source in found[KNOWN]), "the search misses the public word"


def test_secrets_are_not_in_the_environment_of_annals_processes(
    answers: list[str], annals_instance: AnnalsInstance, canaries: dict[str, str]
) -> None:
    assert answers
    stem = _stem(canaries).encode()
    pids = [pid for pid in annals_instance.family() if _user(pid) < FIRST_UID]  # a sandbox holds its own secrets

    assert len(pids) > 5
    assert [pid for pid in pids if stem in _environment(pid)] == []


def test_secrets_are_not_in_tables(
    answers: list[str], annals_instance: AnnalsInstance, canaries: dict[str, str]
) -> None:
    """Tables are searched as text, and events by their decompressed states."""
    assert answers
    stem = _stem(canaries)

    found = readable_in(tables(annals_instance), stem, KNOWN)

    assert found[stem] == set()
    plain = {"table executions", "table contents", "event execution.requested"}
    assert plain <= found[KNOWN], "the search misses the public word"


def test_secrets_are_not_in_an_export(
    answers: list[str], annals_instance: AnnalsInstance, canaries: dict[str, str]
) -> None:
    """The search covers the text of the export and its decoded contents and blobs."""
    assert answers
    stem = _stem(canaries)

    found = readable_in(exported(annals_instance), stem, KNOWN)

    assert found[stem] == set()
    plain = {"exported execution.requested", "exported content errors", "exported content logs"}
    assert plain <= found[KNOWN], "the search misses the public word"


def _stem(canaries: dict[str, str]) -> str:
    return canaries["variable"].partition(".")[0]


def _user(pid: int) -> int:
    try:
        return Path(f"/proc/{pid}").stat().st_uid
    except OSError:
        return FIRST_UID


def _environment(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return os.fsencode("")

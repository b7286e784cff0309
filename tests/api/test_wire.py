"""Behaviours that need a real connection: bodies that break off, are refused or come in pieces, and two processes."""

import io
import os
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from tests.api import code
from tests.client import Client, form
from tests.instance import AnnalsInstance, eventually

CHUNK = 5 * 1024 * 1024
API_VERSIONS = ("", "1.8.0", "2.5.0")


@pytest.fixture
def client(annals_instance: AnnalsInstance) -> Client:
    return Client(annals_instance.endpoint, annals_instance.headers)


@pytest.fixture
def function_id(client: Client) -> str:
    fields = {"functionId": "unique()", "name": "fn", "runtime": "node-22", "entrypoint": "index.js"}
    return str(client.call("POST", "/functions", json=fields)["$id"])


def head(instance: AnnalsInstance, path: str, content_type: str, length: int) -> bytes:
    lines = [
        f"POST /v1{path} HTTP/1.1",
        f"Host: {urlsplit(instance.endpoint).netloc}",
        f"Content-Type: {content_type}",
        f"Content-Length: {length}",
        *(f"{name}: {value}" for name, value in instance.headers.items()),
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def test_connection_that_breaks_in_mid_upload_leaves_nothing(
    annals_instance: AnnalsInstance, client: Client, function_id: str
) -> None:
    path = f"/functions/{function_id}/deployments"
    content_type, body = form({"activate": "true"}, os.urandom(3_000_000), "code.tar.gz")
    address = urlsplit(annals_instance.endpoint)
    for share in (0.1, 0.5, 0.99):
        with socket.create_connection((address.hostname or "", address.port or 0), timeout=60) as connection:
            connection.sendall(head(annals_instance, path, content_type, len(body)))
            connection.sendall(body[: int(len(body) * share)])
    blobs = annals_instance.data / "blobs"

    eventually(lambda: not list((blobs / ".partial").iterdir()))
    assert client.call("GET", path)["total"] == 0
    deployment_id = client.deploy(function_id, code.echo())
    assert client.ready(function_id, deployment_id)["status"] == "ready"


def test_oversized_file_is_refused(client: Client, function_id: str) -> None:
    upload = {"code": ("code.tar.gz", io.BytesIO(bytes(31_000_000)), "application/gzip")}
    answer = client.http.post(f"/functions/{function_id}/deployments", files=upload, data={"activate": "true"})

    assert (answer.status_code, answer.json()["type"]) == (400, "storage_invalid_file_size")
    assert client.call("GET", f"/functions/{function_id}")["$id"] == function_id


def test_body_without_a_length_is_accepted(client: Client) -> None:
    def pieces() -> Iterator[bytes]:
        yield b'{"functionId": "unique()", "name": "fn",'
        yield b'"runtime": "node-22"}'

    answer = client.http.post("/functions", content=pieces(), headers={"content-type": "application/json"})
    assert answer.status_code == 201


def test_oversized_body_is_refused_and_the_server_goes_on(client: Client) -> None:
    answer = client.http.post("/functions", json={"commands": "x" * 3_000_000})

    assert (answer.status_code, answer.json()["type"]) == (400, "general_argument_invalid")
    assert client.http.get("/functions").status_code == 200


@pytest.mark.behaviours(15)
def test_deletion_has_an_empty_body_of_type_html(client: Client) -> None:
    for version in API_VERSIONS:
        headers = {"x-appwrite-response-format": version} if version else {}
        fields = {"functionId": "unique()", "name": "fn", "runtime": "node-22"}
        function_id = client.call("POST", "/functions", json=fields, headers=headers)["$id"]
        answer = client.http.delete(f"/functions/{function_id}", headers=headers)

        assert (answer.status_code, answer.content, answer.headers["content-type"]) == (204, b"", "text/html")


def test_head_requests_and_trailing_slashes_are_served(client: Client, function_id: str) -> None:
    shown = client.http.get(f"/functions/{function_id}/")
    head_answer = client.http.head(f"/functions/{function_id}")

    assert shown.status_code == head_answer.status_code == 200
    assert head_answer.content == b""
    assert head_answer.headers["content-length"] == str(len(shown.content))


@pytest.mark.behaviours(66, 67)
def test_eight_connections_upload_one_file_through_two_processes(
    annals_instance: AnnalsInstance, client: Client, function_id: str, tmp_path: Path
) -> None:
    file = Path(code.archive(tmp_path, code.echo(), padding=24 * 1024 * 1024)).read_bytes()
    starts = range(0, len(file), CHUNK)

    def send(start: int) -> httpx.Response:
        piece = file[start : start + CHUNK]
        range_ = f"bytes {start}-{start + len(piece) - 1}/{len(file)}"
        with httpx.Client(base_url=annals_instance.endpoint, headers=annals_instance.headers, timeout=60) as one:
            return one.post(
                f"/functions/{function_id}/deployments",
                files={"code": ("code.tar.gz", piece, "application/gzip")},
                data={"activate": "true"},
                headers={"content-range": range_, "x-appwrite-id": "at-once"},
            )

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(send, [*reversed(starts), starts[0]]))

    assert [answer.status_code for answer in answers] == [202] * len(answers)
    assert {answer.json()["$id"] for answer in answers} == {"at-once"}
    downloaded: Any = client.http.get(f"/functions/{function_id}/deployments/at-once/download")
    assert downloaded.content == file
    assert client.ready(function_id, "at-once")["sourceSize"] == len(file)


def test_build_log_can_be_followed_live(annals_instance: AnnalsInstance, client: Client, function_id: str) -> None:
    deployment_id = client.deploy(function_id, code.echo(), commands="echo first; sleep 600; echo second")
    path = f"/functions/{function_id}/deployments/{deployment_id}/logs"
    seen: list[str] = []
    with client.http.stream("GET", path, headers={"accept": "text/event-stream"}) as answer:
        assert answer.headers["content-type"] == "text/event-stream"
        for line in answer.iter_lines():
            if line.startswith("data: ") and "first" in line and not seen:
                seen.append(client.deployment(function_id, deployment_id)["status"])
                client.call("PATCH", f"/functions/{function_id}/deployments/{deployment_id}/status")
            if line.startswith("data: {"):
                seen.append(line)

    assert seen == ["building", 'data: {"status":"canceled"}']

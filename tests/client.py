"""A small HTTP client for tests of a whole instance, which sends and returns JSON."""

import io
import tarfile
from collections.abc import Mapping
from typing import Any

import httpx

from tests.instance import eventually

JSON = dict[str, Any]


class Client:
    """A client of one endpoint with one project's key; it sends the fields of `carried` with every execution."""

    def __init__(self, endpoint: str, headers: Mapping[str, str], *, carried: Mapping[str, Any] | None = None) -> None:
        self._carried = carried or {}
        self.http = httpx.Client(base_url=endpoint, headers=dict(headers), timeout=150)

    def call(self, method: str, path: str, **sent: Any) -> JSON:
        """Return the answer's JSON, and fail with the text of an error."""
        answer = self.http.request(method, path, **sent)
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else {}

    def function(self, function_id: str, code: str, *, runtime: str = "node-22", **fields: Any) -> str:
        """Create a function with an active deployment of one file."""
        entrypoint = "main.py" if runtime.startswith("python") else "index.js"
        made = {"functionId": function_id, "name": function_id, "runtime": runtime, "entrypoint": entrypoint, **fields}
        self.call("POST", "/functions", json=made)
        self.ready(function_id, self.deploy(function_id, {entrypoint: code}))
        return function_id

    def deploy(self, function_id: str, files: Mapping[str, str], **fields: Any) -> str:
        sent = {"activate": "true", **fields}
        upload = {"code": ("code.tar.gz", packed(files), "application/gzip")}
        made = self.call("POST", f"/functions/{function_id}/deployments", files=upload, data=sent)
        return str(made["$id"])

    def deployment(self, function_id: str, deployment_id: str) -> JSON:
        return self.call("GET", f"/functions/{function_id}/deployments/{deployment_id}")

    def ready(self, function_id: str, deployment_id: str, seconds: float = 180) -> JSON:
        """Wait for the end of a build, which must succeed."""
        ended = self.built(function_id, deployment_id, seconds)
        assert ended["status"] == "ready", ended["buildLogs"]
        return ended

    def built(self, function_id: str, deployment_id: str, seconds: float = 180) -> JSON:
        """Wait for the end of a build, and return the deployment."""

        def ended() -> JSON | None:
            now = self.deployment(function_id, deployment_id)
            return now if now["status"] in {"ready", "failed", "canceled"} else None

        found: JSON = eventually(ended, seconds)
        return found

    def execute(self, function_id: str, **sent: Any) -> JSON:
        return self.call("POST", f"/functions/{function_id}/executions", json={**self._carried, **sent})

    def execution(self, function_id: str, execution_id: str) -> JSON:
        return self.call("GET", f"/functions/{function_id}/executions/{execution_id}")


def packed(files: Mapping[str, str]) -> bytes:
    """Return a gzipped tar of text files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
    return buffer.getvalue()


def form(fields: Mapping[str, str | bytes], file: bytes | None, name: str) -> tuple[str, bytes]:
    """Return the content type and the bytes of a multipart form."""
    boundary = "----boundary7d82751e2bc0858"
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{field}"\r\n\r\n'.encode()
        + (value.encode() if isinstance(value, str) else value)
        + b"\r\n"
        for field, value in fields.items()
    ]
    if file is not None:
        head = (
            f'Content-Disposition: form-data; name="code"; filename="{name}"\r\nContent-Type: application/gzip\r\n\r\n'
        )
        parts.append(f"--{boundary}\r\n{head}".encode() + file + b"\r\n")
    return f"multipart/form-data; boundary={boundary}", b"".join(parts) + f"--{boundary}--\r\n".encode()

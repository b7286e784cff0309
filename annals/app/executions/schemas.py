"""The execution model, in the shape of every API version, as JSON and as a multipart form."""

import secrets
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from annals.app.edge.negotiation import ApiVersion
from annals.app.wire import ResourceModel, encode, unset_unless, wire_date
from annals.domain import ports


class HeaderModel(msgspec.Struct, frozen=True):
    name: str
    value: str


class ExecutionModel(ResourceModel, rename="camel", kw_only=True):
    """One execution; `duration` in seconds. Only the caller of a synchronous execution sees its response's body."""

    permissions: list[str] = msgspec.field(name="$permissions")
    resource_id: str | UnsetType = UNSET
    resource_type: str | UnsetType = UNSET
    function_id: str | UnsetType = UNSET
    deployment_id: str
    trigger: str
    status: str
    request_method: str
    request_path: str
    request_headers: msgspec.Raw | Sequence[HeaderModel]
    response_status_code: int
    response_body: str = ""
    response_headers: msgspec.Raw | Sequence[HeaderModel]
    logs: str
    errors: str
    scheduled_at: str | None
    duration: float


class LogsModel(msgspec.Struct, kw_only=True):
    """All output of an execution; `reason` says why it failed."""

    id: str = msgspec.field(name="$id")
    status: str
    reason: str
    logs: str
    errors: str


class OutputModel(msgspec.Struct, frozen=True):
    """The output of the code, with the platform's sentence."""

    logs: str = ""
    errors: str = ""


NO_OUTPUT = OutputModel()


def present(row: Mapping[str, Any], output: OutputModel, api_version: ApiVersion) -> ExecutionModel:
    """Return the model of a row of `executions`; the output is empty for callers that may not see it."""
    return ExecutionModel(
        id=row["execution_id"],
        created_at=wire_date(row["created_at"]),
        updated_at=wire_date(row["updated_at"]),
        permissions=[f'read("user:{row["user_id"]}")'] if row["user_id"] else [],
        resource_id=unset_unless(api_version.shows_resource, row["function_id"]),
        resource_type=unset_unless(api_version.shows_resource, "functions"),
        function_id=unset_unless(api_version.shows_function_id, row["function_id"]),
        deployment_id=row["deployment_id"],
        trigger=row["trigger"],
        status=row["status"],
        request_method=row["request_method"],
        request_path=row["request_path"],
        request_headers=msgspec.Raw(row["request_headers"].encode()),
        response_status_code=row["response_status_code"],
        response_headers=msgspec.Raw(row["response_headers"].encode()),
        logs=output.logs,
        errors=output.errors,
        scheduled_at=wire_date(row["scheduled_at"]) or None,
        duration=row["duration_ms"] / 1000,
    )


def present_logs(row: Mapping[str, Any], written: ports.Output) -> LogsModel:
    """Return the logs model of a row of `executions`."""
    return LogsModel(
        id=row["execution_id"],
        status=row["status"],
        reason=row["reason"],
        logs=written.logs,
        errors=written.errors,
    )


def with_sentence(message: str, errors: str) -> str:
    """Return the errors with the platform's sentence in front."""
    return f"{message}\n{errors}" if message and errors and not errors.startswith(message) else errors or message


def as_form(execution: ExecutionModel, body: bytes) -> tuple[bytes, bytes]:
    """Return the content type and body of a multipart answer, which keeps the bytes of the response's body."""
    boundary = "-" * 29 + secrets.token_hex(8)
    parts = []
    for name, value in _fields(execution).items():
        content, head = _part(body if name == "responseBody" else value)
        parts.append(f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{head}\r\n\r\n'.encode() + content)
    return f"multipart/form-data; boundary={boundary}".encode(), b"\r\n".join([*parts, f"--{boundary}--\r\n".encode()])


def _fields(execution: ExecutionModel) -> dict[str, Any]:
    decoded: dict[str, Any] = msgspec.json.decode(encode(execution))
    return decoded


def _part(value: Any) -> tuple[bytes, str]:
    if isinstance(value, bytes):
        return value, ""
    if isinstance(value, list | dict):
        return encode(value), "\r\nContent-Type: application/json"
    if isinstance(value, bool):
        return b"1" if value else b"0", ""
    return ("" if value is None else str(value)).encode(), ""

"""The wire models of dead letters."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from annals.app.wire import ResourceModel, wire_date


class DeadLetterModel(ResourceModel, rename="camel", kw_only=True):
    """An execution whose attempts have all failed. `reason` is the cause of the last failure, `message` its
    description."""

    function_id: str
    deployment_id: str
    trigger: str
    request_method: str
    request_path: str
    response_status_code: int
    attempts: int
    reason: str
    message: str
    input_size: int


class RedrivenModel(msgspec.Struct, rename="camel", kw_only=True):
    """A dead letter, and the execution that was requested for it."""

    dead_letter_id: str
    execution_id: str


class RedrivenListModel(msgspec.Struct, kw_only=True):
    """The dead letters that one request redrove. `remaining` counts the matching ones that are left."""

    total: int
    remaining: int
    redriven: Sequence[RedrivenModel]


def present(row: Mapping[str, Any]) -> DeadLetterModel:
    """Return the model of a row of `executions` that has a `dead_reason`."""
    return DeadLetterModel(
        id=row["execution_id"],
        created_at=wire_date(row["created_at"]),
        updated_at=wire_date(row["updated_at"]),
        function_id=row["function_id"],
        deployment_id=row["deployment_id"],
        trigger=row["trigger"],
        request_method=row["request_method"],
        request_path=row["request_path"],
        response_status_code=row["response_status_code"],
        attempts=row["epoch"],
        reason=row["dead_reason"],
        message=row["message"],
        input_size=row["input_size"],
    )

"""The parameter tables of executions, and the checks on their values that come after the tables."""

from datetime import datetime, timedelta
from typing import Any

from annals.app.executions.queries import LIST as SCHEMA
from annals.app.parameters import (
    Boolean,
    ExecutionHeaders,
    Nullable,
    OneOf,
    Parameters,
    Text,
    TextOrBytes,
    Uid,
    ValidationError,
    optional,
    required,
)
from annals.app.parameters.special import judge_headers
from annals.app.queries.page import list_parameters
from annals.app.queries.schema import parse_date
from annals.domain.errors import ArgumentInvalid, BadRequest

BODY_LIMIT = 10_485_760
"""Most characters of an execution's body."""

REQUEST_LIMIT = 64 * 1024 * 1024
"""Most bytes of a request with such a body: JSON may take six bytes for a character."""

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD")
_SOONEST = timedelta(seconds=60)

CREATE = Parameters(
    **{
        "functionId": required(Uid()),
        "body": optional(TextOrBytes(BODY_LIMIT), b""),
        "async": optional(Boolean(loose=True), False),
        "path": optional(Text(2048), "/"),
        "method": optional(OneOf(METHODS), "POST"),
        "headers": optional(ExecutionHeaders(), {}),
        "scheduledAt": optional(Nullable(Text(100))),
    }
)
LIST = list_parameters(SCHEMA, functionId=required(Uid()))
PREVIEW = Parameters(functionId=required(Uid()), deploymentId=required(Uid())).but(**dict(CREATE.lines[1:]))
ONE = Parameters(functionId=required(Uid()), executionId=required(Uid()))
DOWNLOAD = ONE.but(output=optional(OneOf(("logs", "errors")), "logs"))


def judge(values: dict[str, Any], now: datetime) -> datetime | None:
    """Check what the tables cannot, in the contract's order, and return the time to run at, None for now.

    Raises BadRequest for the time, ArgumentInvalid for headers.
    """
    due = None
    if values["scheduledAt"] is not None:
        if not values["async"]:
            raise BadRequest("A scheduled execution must be asynchronous: send async with scheduledAt.")
        due = _due(values["scheduledAt"], now)
    try:
        judge_headers(values["headers"])
    except ValidationError as invalid:
        raise ArgumentInvalid(f"Invalid `headers` param: {invalid}") from None
    return due


def _due(text: str, now: datetime) -> datetime:
    due = parse_date(text)
    if due is None or due.second or due.microsecond or due - now <= _SOONEST:
        raise BadRequest(
            "scheduledAt must be a date and time more than a minute ahead, at a full minute: seconds are zero."
        )
    return due

"""How a run's outcome becomes its execution's end: what is recorded, and which output is kept beside it."""

from datetime import datetime
from typing import Any

import msgspec

from annals.domain.execution import Execution, Kept, Ran
from annals.domain.invocation import KEPT_RESPONSE_HEADERS, kept, succeeded, truncated
from annals.domain.ports import Outcome
from annals.store.content.blobs import Blob, BlobError
from annals.store.content.contents import Content, digest

LOGS = "logs"
ERRORS = "errors"
WHOLE = "whole_{}"
"""The content that is all of what the other one of that name is only the end of."""


def without_output(outcome: Outcome, error: BlobError) -> Outcome:
    """The outcome of a run whose output no store takes: that is no reason for it not to end."""
    return msgspec.structs.replace(outcome, logs="", errors=f"The output could not be kept: {error}")


def settle(
    execution: Execution, epoch: int, outcome: Outcome, ran: Ran, *, logging: bool, now: datetime
) -> list[Content]:
    """Decide the execution's end, or that it is tried again, and return the contents to append with it.

    Nothing is decided when this claim no longer holds the run: the outcome is refused. Of a run that was canceled,
    what it wrote is kept.
    """
    logs = truncated(outcome.logs, "Logs").encode() if logging else b""
    errors = truncated(outcome.errors, "Errors").encode() if logging else b""
    headers = kept(outcome.headers, KEPT_RESPONSE_HEADERS)
    outputs: dict[str, Any] = {
        "logs_digest": digest(logs),
        "logs_size": len(logs),
        "errors_digest": digest(errors),
        "errors_size": len(errors),
        "whole": [Kept(kind=whole.kind, digest=whole.digest, size=whole.size) for whole in outcome.whole],
    }
    if succeeded(outcome):
        recorded = execution.complete(epoch, status_code=outcome.status_code, headers=headers, ran=ran, **outputs)
    else:
        recorded = execution.fail(
            epoch,
            outcome.reason or "error",
            outcome.message,
            now=now,
            status_code=outcome.status_code,
            headers=headers,
            ran=ran,
            **outputs,
        )
    if not recorded and not ((logs or errors) and execution.keep_output(epoch, **outputs)):
        return []
    return [
        *(Content(execution.id, kind, data) for kind, data in ((LOGS, logs), (ERRORS, errors)) if data),
        *(
            Content(execution.id, WHOLE.format(whole.kind), Blob(whole.key, whole.size, whole.digest))
            for whole in outcome.whole
        ),
    ]

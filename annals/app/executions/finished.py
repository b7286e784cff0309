"""What the caller of a synchronous execution is told."""

import msgspec

from annals.app.edge.call import Call
from annals.app.executions import queries, schemas
from annals.domain.errors import ExecutionNotFound
from annals.domain.execution import Execution
from annals.domain.invocation import truncated
from annals.domain.ports import Outcome
from annals.store.log.log import Recorded


class Finished(msgspec.Struct, frozen=True):
    """A synchronous execution's answer: the model with what only its caller is told, and the body's bytes."""

    execution: schemas.ExecutionModel
    body: bytes


async def finished(
    call: Call, execution: Execution, outcome: Outcome, recorded: Recorded | None, *, logging: bool
) -> Finished:
    """The row that was recorded, with the answer's body and all of its headers."""
    rows = recorded.rows.get("executions") if recorded is not None else None
    if not rows:
        row = await queries.find_row(call, execution.execution_id)
        if row is None:
            raise ExecutionNotFound
        return Finished(await queries.present_stored(call, row), b"")
    output = schemas.NO_OUTPUT
    if (await call.caller()).privileged:
        logs = truncated(outcome.logs, "Logs") if logging else ""
        errors = truncated(outcome.errors, "Errors") if logging else ""
        output = schemas.OutputModel(logs, schemas.with_sentence(rows[0]["message"], errors))
    shown = schemas.present(rows[0], output, call.api_version)
    shown.response_headers = [
        *(schemas.HeaderModel(name, value) for name, value in outcome.headers if name != "x-appwrite-execution-id"),
        schemas.HeaderModel("x-appwrite-execution-id", execution.execution_id),
    ]
    return Finished(shown, b"" if call.values["method"] == "HEAD" else outcome.body)

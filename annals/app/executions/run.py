"""Run a function for a caller that waits: the use case's request from an HTTP call, and the answer of its outcome."""

import msgspec

from annals.app.edge.call import Call
from annals.app.errors import SynchronousTimeout
from annals.app.executions import queries, schemas
from annals.app.identity.caller import Caller
from annals.application.executions.context import Context
from annals.application.executions.prepare import Preparation
from annals.application.executions.request import ExecutionRequest
from annals.application.executions.run import FinishedCall, SynchronousCalls
from annals.domain.errors import ExecutionNotFound
from annals.domain.invocation import truncated
from annals.store.content.inputs import Input


class Finished(msgspec.Struct, frozen=True):
    """The answer of a synchronous execution: the model with the parts that only its caller sees, and the body."""

    execution: schemas.ExecutionModel
    body: bytes


async def run_now(call: Call, context: Context) -> Finished:
    """Run a ready function and wait for it.

    Raises SynchronousTimeout after the instance's longest wait, with the execution recorded as failed, and as
    `SynchronousCalls.run` does.
    """
    services = call.services
    calls = SynchronousCalls(  # made for each call: a dry run has its own log and executor
        log=services.log,
        executor=services.executor,
        preparation=Preparation(
            services.environments, services.vault, start_seconds=float(services.settings.start_timeout_s)
        ),
        deferred=services.deferred,
        call_limiter=services.call_limiter,
        fair_queue=services.fair_queue,
        slots=services.concurrency_slots,
        worker=services.holder(),
        longest_seconds=services.settings.sync_wait_s,
    )
    request = await request_of(call, await call.caller())
    finished = await calls.run(request, context, call.permit, call.seen)
    if finished.timed_out:
        raise SynchronousTimeout
    return await _answer(call, finished)


async def request_of(call: Call, caller: Caller, *, scheduled: bool = False) -> ExecutionRequest:
    """Return the use case's request; `scheduled` says that it runs at a later date."""
    values = call.values
    return ExecutionRequest(
        project_id=call.project_id,
        execution_id=call.new_id(),
        method=values["method"],
        path=values["path"],
        input=Input(
            body=values["body"],
            headers=list(values["headers"].items()),
            client_ip=call.address,
            depth=caller.depth,
            token_session=caller.session_of_token(scheduled=scheduled),
            user_incarnation=caller.incarnation,
        ),
        meta=await call.meta(),
        user_id=caller.user_id,
        pinned="deploymentId" in values,
        repeatable=bool(call.reserved_id),
        key_prefix=call.api_version.key_prefix,
    )


async def _answer(call: Call, finished: FinishedCall) -> Finished:
    """Return the recorded row, with the answer's body and all of its headers."""
    ended, recorded = finished.ended, finished.recorded
    rows = recorded.rows.get("executions") if recorded is not None else None
    if not rows:
        row = await queries.find_row(call, ended.execution.execution_id)
        if row is None:
            raise ExecutionNotFound
        return Finished(await queries.present_stored(call, row), b"")
    outcome, output = ended.outcome, schemas.NO_OUTPUT
    if (await call.caller()).privileged:
        logging = ended.prepared is not None and ended.prepared.context.logging
        logs = truncated(outcome.logs, "Logs") if logging else ""
        errors = truncated(outcome.errors, "Errors") if logging else ""
        output = schemas.OutputModel(logs, schemas.with_sentence(rows[0]["message"], errors))
    shown = schemas.present(rows[0], output, call.api_version)
    shown.response_headers = [
        *(schemas.HeaderModel(name, value) for name, value in outcome.headers if name != "x-appwrite-execution-id"),
        schemas.HeaderModel("x-appwrite-execution-id", ended.execution.execution_id),
    ]
    return Finished(shown, b"" if call.values["method"] == "HEAD" else outcome.body)

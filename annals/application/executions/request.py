"""The request to run a function, by a caller or by a trigger, and the execution that it becomes."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from annals.application.executions.context import Context, Environments
from annals.application.executions.prepare import deployment_of
from annals.domain.errors import Conflict, ExecutionAlreadyExists, FunctionNotFound
from annals.domain.execution import CallRequest, Execution, Trigger
from annals.domain.invocation import KEPT_REQUEST_HEADERS, merged_headers, platform_headers, stored_headers
from annals.domain.policy import policy_from
from annals.store.content.contents import Content
from annals.store.content.inputs import Input
from annals.store.log.log import EventLog, Meta
from annals.store.postgres.database import Row


class ExecutionRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A caller's request to run a function once, without the protocol by which it came.

    `input` has the body with the caller's headers and session. A `pinned` request names its deployment, so that the
    policy's traffic does not choose one. A `repeatable` one is recorded before its code ends, since a repeat finds the
    execution by its id. `key_prefix` is that of the API version, for the key that the code gets.
    """

    project_id: str
    execution_id: str
    method: str
    path: str
    input: Input
    meta: Meta
    user_id: str = ""
    pinned: bool = False
    repeatable: bool = False
    key_prefix: str = "ephemeral"


async def route(environments: Environments, request: ExecutionRequest, context: Context) -> Context:
    """Return the function with the deployment that runs this request."""
    return context if request.pinned else await environments.routed(context, request.execution_id)


def new_execution(
    request: ExecutionRequest,
    context: Context,
    *,
    worker: str = "",
    scheduled_at: datetime | None = None,
    input_digest: str = "",
    input_size: int = 0,
) -> Execution:
    """Return a new execution of the context's deployment; with a `worker`, that process runs it at once."""
    call_input = request.input
    platform = platform_headers(execution_id="", key="", trigger="", client_ip=call_input.client_ip)
    return Execution.request_run(
        None,
        project_id=request.project_id,
        function_id=context.function_id,
        function_incarnation=context.incarnation,
        function_version=context.version,
        execution_id=request.execution_id,
        deployment_id=deployment_of(context).deployment_id,
        trigger="schedule" if scheduled_at else "http",
        request=CallRequest(
            method=request.method,
            path=request.path,
            headers=stored_headers(merged_headers(dict(call_input.headers), platform), KEPT_REQUEST_HEADERS),
            user_id=request.user_id,
            input_digest=input_digest,
            input_size=input_size,
        ),
        worker=worker,
        scheduled_at=scheduled_at,
        retries=None if worker else context.policy.retries_of_calls,
        pinned=request.pinned,
    )


async def record_triggered(
    log: EventLog,
    function: Row,
    execution_id: str,
    *,
    trigger: Trigger,
    request: CallRequest,
    meta: Meta,
    contents: Sequence[Content] = (),
    **scheduled: Any,
) -> bool:
    """Record an execution that a schedule or an event requests, and return False if it was recorded before.

    `function` is a row with the function's columns, its incarnation and its active deployment. A function that was
    deleted meanwhile also returns False.
    """
    policy = policy_from(function["policy"])
    try:
        await log.run(
            Execution.request_run,
            Execution.absent(function["project_id"], execution_id),
            meta=meta,
            contents=contents,
            project_id=function["project_id"],
            function_id=function["function_id"],
            function_incarnation=function["function_sequence"],
            function_version=function["version"],
            execution_id=execution_id,
            deployment_id=policy.share_of(execution_id) or function["deployment_id"],
            trigger=trigger,
            request=request,
            retries=policy.retries_of_calls,
            **scheduled,
        )
    except (ExecutionAlreadyExists, FunctionNotFound, Conflict):
        return False
    return True

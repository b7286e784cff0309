"""From a prepared context and what a caller sent to the run that the executor is asked for, and its outcome's facts."""

from collections.abc import Mapping, Sequence

import msgspec

from annals.application.executions.context import Context, ContextDeployment, Prepared
from annals.domain.execution import Ran, Trigger
from annals.domain.invocation import laid_over, platform_headers
from annals.domain.ports import Limits, Outcome, Run
from annals.store.content.contents import contents_prefix
from annals.store.secrets.tokens import Claims, Parent

QUEUE_SECONDS = 10.0
"""How long a call that somebody waits for may wait for its turn on a host."""


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One call as it came: `headers` are all that the caller sent, `key` is the credential that the code is handed."""

    execution_id: str
    epoch: int
    trigger: Trigger
    method: str
    path: str
    headers: Mapping[str, str] | Sequence[tuple[str, str]]
    body: bytes
    key: str
    user_id: str = ""
    user_jwt: str = ""
    client_ip: str = ""
    event: str = ""


def key_of_code(context: Context, *, expires: float, child: str, depth: int = 0) -> Claims:
    """The API key that a function's code is handed: it ends with the function, and never has more scopes than it."""
    return Claims(
        project_id=context.project_id,
        scopes=context.scopes,
        exp=int(expires),
        parent=Parent.of_function(context.function_id, context.incarnation),
        child=child,
        depth=depth,
    )


def build_run(prepared: Prepared, call: Call, *, start_seconds: float, queue_seconds: float = QUEUE_SECONDS) -> Run:
    """What the executor needs; `start_seconds` bounds getting an instance ready, the function's timeout its code."""
    context, deployment = prepared.context, deployment_of(prepared.context)
    size = context.specification()
    platform = platform_headers(
        execution_id=call.execution_id,
        key=call.key,
        trigger=call.trigger,
        event=call.event,
        user_id=call.user_id,
        user_jwt=call.user_jwt,
        client_ip=call.client_ip,
    )
    return Run(
        project=context.project_id,
        function=context.function_id,
        deployment=deployment.deployment_id,
        execution=call.execution_id,
        epoch=call.epoch,
        runtime=context.runtime,
        artefact=deployment.artefact,
        entrypoint=deployment.entrypoint,
        environment=dict(prepared.environment.variables),
        environment_digest=prepared.environment.digest,
        limits=Limits(cpus=size.cpus, memory_mb=size.memory),
        method=call.method,
        path=call.path,
        headers=laid_over(dict(call.headers), platform),
        body=call.body,
        logging=context.logging,
        start_seconds=start_seconds,
        run_seconds=float(context.timeout),
        max_instances=context.policy.scaling.max_instances,
        idle_seconds=float(context.policy.scaling.idle_seconds),
        concurrency=context.policy.scaling.concurrency,
        queue_seconds=queue_seconds,
        outputs_key=contents_prefix(context.project_id),
    )


def ran(prepared: Prepared, outcome: Outcome) -> Ran:
    """What the outcome's event says was really used."""
    context = prepared.context
    return Ran(
        deployment_id=deployment_of(context).deployment_id,
        function_version=context.version,
        environment_digest=prepared.environment.digest,
        specification=context.specification().slug,
        cold=outcome.cold,
        host=outcome.host,
        queue_ms=_milliseconds(outcome.queue_seconds),
        start_ms=_milliseconds(outcome.start_seconds),
        run_ms=_milliseconds(outcome.run_seconds),
        routed=context.routed,
    )


def deployment_of(context: Context) -> ContextDeployment:
    """The deployment of a context that was found to have one."""
    if context.deployment is None:
        raise ValueError(f"{context.stream} has no active deployment")
    return context.deployment


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)

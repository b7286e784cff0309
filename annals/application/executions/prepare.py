"""Prepare a run: check that the function may run, mint the tokens of its code, and build the executor's request.

Synchronous calls, workers, prewarming and builds share this module.
"""

import time
from collections.abc import Mapping, Sequence

import msgspec

from annals.application.executions.context import Context, ContextDeployment, Environments, Prepared
from annals.domain.errors import (
    BuildNotReady,
    DeploymentNotFound,
    FunctionNotFound,
    FunctionRuntimeUnsupported,
    UserUnauthorized,
)
from annals.domain.execution import Execution, Trigger
from annals.domain.invocation import merged_headers, platform_headers
from annals.domain.ports import Limits, Run
from annals.domain.runtimes import RUNTIMES
from annals.store.content.contents import contents_prefix
from annals.store.content.inputs import Input
from annals.store.secrets.tokens import EPHEMERAL_KEYS, USER_TOKENS, Claims, Parent, ephemeral_key, user_token
from annals.store.secrets.vault import Vault

KEY_SLACK_SECONDS = 60
"""How long the key that the code gets outlives its timeout (http-api.md 9.3)."""

QUEUE_SECONDS = 10.0
"""How long a synchronous call may wait for a free instance on a host."""


def require_runnable(context: Context | None, roles: frozenset[str] | None) -> Context:
    """Return the context if a caller with these roles may run it now; `roles` is None for keys and admins.

    The order of the checks is part of the contract (http-api.md 7.19). Raises FunctionNotFound,
    FunctionRuntimeUnsupported, DeploymentNotFound, BuildNotReady, UserUnauthorized.
    """
    if context is None or not (context.enabled or roles is None):
        raise FunctionNotFound
    require_runtime(context)
    ready_deployment(context, "Deployment not found. Create a deployment before trying to execute a function")
    if roles is not None and roles.isdisjoint(context.execute):
        raise UserUnauthorized
    return context


def require_runtime(context: Context) -> None:
    """Raise FunctionRuntimeUnsupported unless the instance still offers the function's runtime."""
    if context.runtime not in RUNTIMES:
        raise FunctionRuntimeUnsupported(f'Runtime "{context.runtime}" is not supported')


def ready_deployment(context: Context, missing: str = "") -> ContextDeployment:
    """Return the deployment that runs. Raises DeploymentNotFound with the message `missing`, BuildNotReady."""
    if context.deployment is None:
        raise DeploymentNotFound(missing)
    if context.deployment.status != "ready":
        raise BuildNotReady.of(context.deployment.status)
    return context.deployment


def deployment_of(context: Context) -> ContextDeployment:
    """Return the deployment of a context that was checked to have one."""
    if context.deployment is None:
        raise ValueError(f"{context.stream} has no active deployment")
    return context.deployment


class CodeTokens:
    """Mints the credentials that running code gets."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    async def key(
        self, context: Context, child: str, *, expires: float, depth: int = 0, prefix: str = "ephemeral"
    ) -> str:
        """Return the API key of a function's code: its scopes are the function's, and it ends with the function."""
        claims = Claims(
            project_id=context.project_id,
            scopes=context.scopes,
            exp=int(expires),
            parent=Parent.of_function(context.function_id, context.incarnation),
            child=child,
            depth=depth,
        )
        return ephemeral_key(claims, await self._vault.derive(context.project_id, EPHEMERAL_KEYS), prefix=prefix)

    async def user_token(self, project_id: str, user_id: str, call_input: Input, *, expires: float) -> str:
        """Return the token by which the code acts as its caller; empty for keys, guests and callers with a token."""
        if call_input.token_session is None:
            return ""
        secret = await self._vault.derive(project_id, USER_TOKENS)
        return user_token(
            user_id, call_input.token_session, incarnation=call_input.user_incarnation, expires=expires, secret=secret
        )


class Invocation(msgspec.Struct, frozen=True, kw_only=True):
    """The request that the code receives: `headers` are all that the caller sent, `key` is the code's API key."""

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


class Preparation:
    """Prepares runs of one process; `start_seconds` bounds the start of an instance."""

    def __init__(self, environments: Environments, vault: Vault, *, start_seconds: float) -> None:
        self.environments = environments
        self._tokens = CodeTokens(vault)
        self._start_seconds = start_seconds

    async def build(
        self,
        prepared: Prepared,
        execution: Execution,
        call_input: Input,
        *,
        queue_seconds: float = QUEUE_SECONDS,
        key_prefix: str = "ephemeral",
    ) -> Run:
        """Return the executor's request for an execution, with tokens that last as long as the code may run."""
        context, request = prepared.context, execution.request
        expires = time.time() + context.timeout + KEY_SLACK_SECONDS
        key = await self._tokens.key(
            context, f"execution:{execution.execution_id}", expires=expires, depth=call_input.depth, prefix=key_prefix
        )
        invocation = Invocation(
            execution_id=execution.execution_id,
            epoch=execution.epoch,
            trigger=execution.trigger,
            method=request.method,
            path=request.path,
            headers=call_input.headers,
            body=call_input.body,
            key=key,
            event=request.event,
            user_id=request.user_id,
            user_jwt=await self._tokens.user_token(context.project_id, request.user_id, call_input, expires=expires),
            client_ip=call_input.client_ip,
        )
        return build_run(prepared, invocation, start_seconds=self._start_seconds, queue_seconds=queue_seconds)


def build_run(
    prepared: Prepared, invocation: Invocation, *, start_seconds: float, queue_seconds: float = QUEUE_SECONDS
) -> Run:
    """Return the executor's request; `start_seconds` bounds the instance's start, the function's timeout its code."""
    context, deployment = prepared.context, deployment_of(prepared.context)
    size = context.specification()
    platform = platform_headers(
        execution_id=invocation.execution_id,
        key=invocation.key,
        trigger=invocation.trigger,
        event=invocation.event,
        user_id=invocation.user_id,
        user_jwt=invocation.user_jwt,
        client_ip=invocation.client_ip,
    )
    return Run(
        project=context.project_id,
        function=context.function_id,
        deployment=deployment.deployment_id,
        execution=invocation.execution_id,
        epoch=invocation.epoch,
        runtime=context.runtime,
        artefact=deployment.artefact,
        entrypoint=deployment.entrypoint,
        environment=dict(prepared.environment.variables),
        environment_digest=prepared.environment.digest,
        limits=Limits(cpus=size.cpus, memory_mb=size.memory),
        method=invocation.method,
        path=invocation.path,
        headers=merged_headers(dict(invocation.headers), platform),
        body=invocation.body,
        logging=context.logging,
        start_seconds=start_seconds,
        run_seconds=float(context.timeout),
        max_instances=context.policy.scaling.max_instances,
        idle_seconds=float(context.policy.scaling.idle_seconds),
        concurrency=context.policy.scaling.concurrency,
        queue_seconds=queue_seconds,
        outputs_key=contents_prefix(context.project_id),
    )

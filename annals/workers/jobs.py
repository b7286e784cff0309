"""What a build needs before it can begin: the function as it is now, the environment, and where the artefact goes."""

import time
from typing import NamedTuple

import msgspec

from annals.application.executions.context import Environments, Prepared
from annals.application.executions.runs import deployment_of, key_of_code
from annals.domain.deployment import Deployment
from annals.domain.errors import FunctionNotFound, FunctionRuntimeUnsupported
from annals.domain.ports import Build, BuildOutcome, Limits
from annals.store.content.contents import artefact_key
from annals.store.coordination.retry import EXECUTOR_SECONDS, retry
from annals.store.errors import StoreError, VariableUnreadable
from annals.store.secrets.tokens import EPHEMERAL_KEYS, ephemeral_key
from annals.store.secrets.vault import Vault
from annals.workers.preparation import KEY_SLACK_SECONDS


class BuildLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What every build may take, from the settings."""

    timeout_seconds: float
    output_limit_bytes: int
    executor_pause_seconds: float = 2.0
    """How long an executor that was lost is left alone, times the attempt."""
    executor_retry_seconds: float = EXECUTOR_SECONDS


class Job(NamedTuple):
    """What the executor is asked for, or the outcome of a build that cannot begin; `specification` is its size."""

    specification: str
    build: Build | None
    impossible: BuildOutcome | None = None


class Jobs:
    """Waits for Postgres as long as it takes."""

    def __init__(self, vault: Vault, environments: Environments, limits: BuildLimits) -> None:
        self._vault, self._environments, self._limits = vault, environments, limits

    async def of(self, deployment: Deployment) -> Job | None:
        """The job of a claimed build; None when its function or the deployment itself is gone."""
        where = deployment.project_id, deployment.deployment_id
        context = await retry(lambda: self._environments.of_deployment(*where))
        if context is None:
            return None
        size = context.specification(building=True)
        try:
            prepared = await retry(lambda: self._environments.of(context, building=True))
            return Job(size.slug, await self._build(prepared, deployment.epoch))
        except FunctionNotFound:
            return None
        except FunctionRuntimeUnsupported as error:
            return Job(size.slug, None, BuildOutcome(reason="runtime_unavailable", message=str(error)))
        except VariableUnreadable as error:
            return Job(size.slug, None, BuildOutcome(reason="variable_unreadable", message=str(error)))
        except StoreError as error:
            sentence = f"The function's variables cannot be opened: {error}"
            return Job(size.slug, None, BuildOutcome(reason="command_failed", message=sentence))

    async def _build(self, prepared: Prepared, epoch: int) -> Build:
        context, deployment = prepared.context, deployment_of(prepared.context)
        secret = await retry(lambda: self._vault.derive(context.project_id, EPHEMERAL_KEYS))
        expires = time.time() + self._limits.timeout_seconds + KEY_SLACK_SECONDS
        claims = key_of_code(context, expires=expires, child=f"deployment:{deployment.deployment_id}")
        key = ephemeral_key(claims, secret, prefix="ephemeral")
        size = context.specification(building=True)
        return Build(
            project=context.project_id,
            function=context.function_id,
            deployment=deployment.deployment_id,
            epoch=epoch,
            runtime=context.runtime,
            source=deployment.source,
            output_key=artefact_key(context.project_id, deployment.deployment_id, epoch),
            entrypoint=deployment.entrypoint,
            commands=deployment.commands,
            output_directory="",
            environment={**prepared.environment.variables, "APPWRITE_FUNCTION_API_KEY": key},
            limits=Limits(cpus=size.cpus, memory_mb=size.memory),
            timeout_seconds=self._limits.timeout_seconds,
            output_limit_bytes=self._limits.output_limit_bytes,
        )

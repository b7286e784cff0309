"""Prepare a build: read the function and its environment, and build the executor's request, or say why not."""

import time
from typing import NamedTuple

import msgspec

from annals.application.executions.context import Environments, Prepared
from annals.application.executions.prepare import KEY_SLACK_SECONDS, CodeTokens, deployment_of
from annals.domain.deployment import Deployment
from annals.domain.errors import FunctionNotFound, FunctionRuntimeUnsupported
from annals.domain.ports import Build, BuildOutcome, Limits
from annals.store.content.contents import artefact_key
from annals.store.coordination.retry import EXECUTOR_SECONDS, retry
from annals.store.errors import StoreError, VariableUnreadable
from annals.store.secrets.vault import Vault


class BuildLimits(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of every build, from the settings."""

    timeout_seconds: float
    output_limit_bytes: int
    executor_pause_seconds: float = 2.0
    """How long a lost executor is left alone, times the attempt."""
    executor_retry_seconds: float = EXECUTOR_SECONDS


class PreparedBuild(NamedTuple):
    """The executor's request, or the outcome of a build that cannot begin; `specification` is its size."""

    specification: str
    build: Build | None
    impossible: BuildOutcome | None = None


class BuildPreparation:
    """Prepares claimed builds, and waits for Postgres as long as that takes."""

    def __init__(self, vault: Vault, environments: Environments, limits: BuildLimits) -> None:
        self._tokens = CodeTokens(vault)
        self._environments = environments
        self._limits = limits

    async def prepare(self, deployment: Deployment) -> PreparedBuild | None:
        """Return the build of a claimed deployment; None if the deployment or its function is gone."""
        key = deployment.project_id, deployment.deployment_id
        context = await retry(lambda: self._environments.of_deployment(*key))
        if context is None:
            return None
        size = context.specification(building=True).slug
        try:
            prepared = await retry(lambda: self._environments.of(context, building=True))
            return PreparedBuild(size, await self._build(prepared, deployment.epoch))
        except FunctionNotFound:
            return None
        except FunctionRuntimeUnsupported as error:
            return PreparedBuild(size, None, BuildOutcome(reason="runtime_unavailable", message=str(error)))
        except VariableUnreadable as error:
            return PreparedBuild(size, None, BuildOutcome(reason="variable_unreadable", message=str(error)))
        except StoreError as error:
            sentence = f"The function's variables cannot be opened: {error}"
            return PreparedBuild(size, None, BuildOutcome(reason="command_failed", message=sentence))

    async def _build(self, prepared: Prepared, epoch: int) -> Build:
        context, deployment = prepared.context, deployment_of(prepared.context)
        expires = time.time() + self._limits.timeout_seconds + KEY_SLACK_SECONDS
        child = f"deployment:{deployment.deployment_id}"
        key = await retry(lambda: self._tokens.key(context, child, expires=expires))
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

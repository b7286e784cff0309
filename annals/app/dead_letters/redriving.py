"""Asking for a dead letter once more: an execution of its own, of today's code and policy, with the same input."""

import msgspec

from annals.app.dead_letters.schemas import RedrivenModel
from annals.application.executions.context import Context, Environments
from annals.application.executions.runs import deployment_of
from annals.domain.commands.executions import redrive_execution
from annals.domain.errors import BuildNotReady, DeadLetterNotFound, DeploymentNotFound, ExecutionNotFound
from annals.domain.execution import Execution, Request
from annals.store.content.contents import Content
from annals.store.content.inputs import KIND, digest_and_size, open_input, seal_input
from annals.store.errors import ContentMissing, DataKeyDeleted
from annals.store.ids import generate_id
from annals.store.log.log import EventLog, Meta, Recorded
from annals.store.secrets.vault import Vault


class Redriver:
    """Redrives dead letters of one project, for whoever asks: a request, or a person at the command line."""

    def __init__(self, log: EventLog, vault: Vault, environments: Environments, *, project_id: str) -> None:
        self._log, self._vault, self._environments, self._project_id = log, vault, environments, project_id

    async def redrive(
        self, execution_id: str, *, function_id: str, incarnation: int, meta: Meta, own_id: str = ""
    ) -> tuple[RedrivenModel, Recorded]:
        """Redrive one, as the execution `own_id` where one is given.

        Raises DeadLetterNotFound, DeploymentNotFound, BuildNotReady, and as the store does.
        """
        own_id = own_id or generate_id()
        try:
            letter: Execution = await self._log.load(Execution.key(self._project_id, execution_id))
        except ExecutionNotFound:
            raise DeadLetterNotFound from None
        if not letter.dead or (letter.function_id, letter.function_incarnation) != (function_id, incarnation):
            raise DeadLetterNotFound
        context, deployment_id = await self._context(letter, own_id)
        request, contents = await self._input(letter, Execution.stream(self._project_id, own_id))
        recorded = await self._log.run(
            redrive_execution,
            Execution.key(self._project_id, execution_id),
            Execution.absent(self._project_id, own_id),
            meta=meta,
            contents=contents,
            function_id=function_id,
            incarnation=incarnation,
            execution_id=own_id,
            function_version=context.version,
            deployment_id=deployment_id,
            request=request,
            pinned=letter.pinned,
            retries=context.policy.retries_of_calls,
        )
        return RedrivenModel(dead_letter_id=execution_id, execution_id=own_id), recorded

    async def _context(self, letter: Execution, own_id: str) -> tuple[Context, str]:
        """The function with the deployment that would answer now: a call that cannot run stays a dead letter."""
        context = (
            await self._environments.of_deployment(self._project_id, letter.deployment_id)
            if letter.pinned
            else await self._environments.active(self._project_id, letter.function_id)
        )
        if context is None or context.deployment is None:
            raise DeploymentNotFound("There is no deployment to run it. Activate one, then redrive.")
        if context.deployment.status != "ready":
            raise BuildNotReady.of(context.deployment.status)
        if not letter.pinned:
            context = await self._environments.routed(context, own_id)
        return context, deployment_of(context).deployment_id

    async def _input(self, letter: Execution, stream: str) -> tuple[Request, list[Content]]:
        """The same input, sealed for the new execution's stream. Raises DeadLetterNotFound, ContentDamaged."""
        if not letter.request.input_size:
            return letter.request, []
        try:
            sealed = await self._log.contents.read(letter.id, KIND)
        except ContentMissing:
            raise DeadLetterNotFound("What this dead letter was given is no longer kept.") from None
        try:
            given = await open_input(self._vault, self._project_id, letter.id, sealed)
        except DataKeyDeleted:
            raise DeadLetterNotFound("The data key that sealed this dead letter's input is not here.") from None
        content = await seal_input(self._vault, self._project_id, stream, given)
        digest, size = digest_and_size(content)
        return msgspec.structs.replace(letter.request, input_digest=digest, input_size=size), [content]

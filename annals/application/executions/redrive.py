"""Redrive a dead letter: a new execution of today's code and policy, with the same input."""

import msgspec

from annals.application.executions.context import Context, Environments
from annals.application.executions.prepare import deployment_of, ready_deployment
from annals.domain.commands.executions import redrive_execution
from annals.domain.errors import DeadLetterNotFound, DeploymentNotFound, ExecutionNotFound
from annals.domain.execution import CallRequest, Execution
from annals.store.content.contents import Content
from annals.store.content.inputs import KIND, digest_and_size, open_input, seal_input
from annals.store.errors import ContentMissing, DataKeyDeleted
from annals.store.ids import generate_id
from annals.store.log.log import EventLog, Meta, Recorded
from annals.store.secrets.vault import Vault

_NO_DEPLOYMENT = "There is no deployment to run it. Activate one, then redrive."


class Redriver:
    """Redrives dead letters of one project, for the API and the command line."""

    def __init__(self, log: EventLog, vault: Vault, environments: Environments, *, project_id: str) -> None:
        self._log = log
        self._vault = vault
        self._environments = environments
        self._project_id = project_id

    async def redrive(
        self, execution_id: str, *, function_id: str, incarnation: int, meta: Meta, own_id: str = ""
    ) -> tuple[str, Recorded]:
        """Redrive a dead letter, and return the new execution's id: `own_id` unless that is empty.

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
        return own_id, recorded

    async def _context(self, letter: Execution, own_id: str) -> tuple[Context, str]:
        """Return the function with the deployment that would answer now: a call that cannot run stays a dead letter."""
        context = (
            await self._environments.of_deployment(self._project_id, letter.deployment_id)
            if letter.pinned
            else await self._environments.active(self._project_id, letter.function_id)
        )
        if context is None:
            raise DeploymentNotFound(_NO_DEPLOYMENT)
        ready_deployment(context, _NO_DEPLOYMENT)
        if not letter.pinned:
            context = await self._environments.routed(context, own_id)
        return context, deployment_of(context).deployment_id

    async def _input(self, letter: Execution, stream: str) -> tuple[CallRequest, list[Content]]:
        """Return the same input, sealed for the new execution's stream. Raises DeadLetterNotFound, ContentDamaged."""
        if not letter.request.input_size:
            return letter.request, []
        try:
            sealed = await self._log.contents.read(letter.id, KIND)
        except ContentMissing:
            raise DeadLetterNotFound("What this dead letter was given is no longer kept.") from None
        try:
            call_input = await open_input(self._vault, self._project_id, letter.id, sealed)
        except DataKeyDeleted:
            raise DeadLetterNotFound("The data key that sealed this dead letter's input is not here.") from None
        content = await seal_input(self._vault, self._project_id, stream, call_input)
        digest, size = digest_and_size(content)
        return msgspec.structs.replace(letter.request, input_digest=digest, input_size=size), [content]

"""What an execution needs before it can run: the deployment that answers, its environment, and what it was given."""

import time

from annals.application.executions.context import Context, Environments, Prepared
from annals.application.executions.runs import Call, key_of_code
from annals.domain.errors import FunctionNotFound, FunctionRuntimeUnsupported
from annals.domain.execution import Execution
from annals.domain.ports import Reason
from annals.store.content.contents import Contents
from annals.store.content.inputs import KIND, NOTHING, Input, open_input
from annals.store.coordination.retry import retry
from annals.store.errors import ContentMissing, StoreError, VariableUnreadable
from annals.store.postgres.database import Row
from annals.store.secrets.tokens import EPHEMERAL_KEYS, USER_TOKENS, ephemeral_key, user_token
from annals.store.secrets.vault import Vault
from annals.workers.reads import Need, Needed, Reads

KEY_SLACK_SECONDS = 60
"""How long the key that the code is handed outlives its timeout (http-api.md 9.3)."""

FUNCTION_GONE = "The function, or the deployment that was asked for, was deleted before this execution ran."
NO_DEPLOYMENT = "The function has no active deployment. Activate one and run it again."
NOT_READY = "The build of the deployment is not ready. Run it again when it is."


class Refused(Exception):
    """The run cannot begin: `reason` and the sentence that is recorded."""

    def __init__(self, reason: Reason, sentence: str) -> None:
        super().__init__(sentence)
        self.reason: Reason = reason


class Preparation:
    """Waits for Postgres as long as it takes."""

    def __init__(self, reads: Reads, contents: Contents, vault: Vault, environments: Environments) -> None:
        self._reads, self._contents, self._vault, self._environments = reads, contents, vault, environments

    async def of(self, execution: Execution, sealed: bytes = b"") -> tuple[Prepared, Call] | Refused:
        """What a claimed execution runs with, or why it cannot run. What it was given is read unless it is `sealed`."""
        try:
            needed = await self._needed(execution, sealed)
            prepared = await self._prepared(execution, needed.context)
            return prepared, await self._call(prepared.context, execution, sealed or needed.given)
        except Refused as refusal:
            return refusal

    async def _needed(self, execution: Execution, sealed: bytes) -> Needed:
        function_id = "" if execution.pinned else execution.function_id
        stream = "" if sealed or not execution.request.input_size else execution.id
        if not (function_id or stream):
            return Needed()
        return await retry(lambda: self._reads.needed(Need(execution.project_id, function_id, stream)))

    async def _prepared(self, execution: Execution, active: Context | None) -> Prepared:
        """The deployment that answers at this moment (http-api.md 8.3), or the one asked for, and its environment."""
        context = await retry(lambda: self._context(execution, active))
        if context is None or context.incarnation != execution.function_incarnation:
            raise Refused("deployment_missing", FUNCTION_GONE)
        if context.deployment is None:
            raise Refused("deployment_missing", NO_DEPLOYMENT)
        if context.deployment.status != "ready":
            raise Refused("build_not_ready", NOT_READY)
        try:
            return await retry(lambda: self._environments.of(context))
        except FunctionNotFound:
            raise Refused("deployment_missing", FUNCTION_GONE) from None
        except FunctionRuntimeUnsupported as error:
            raise Refused("runtime_unavailable", str(error)) from None
        except VariableUnreadable as error:
            raise Refused("variable_unreadable", str(error)) from None
        except StoreError as error:
            raise Refused("error", f"The function's variables cannot be opened: {error}") from error

    async def _context(self, execution: Execution, active: Context | None) -> Context | None:
        if execution.pinned:
            return await self._environments.of_deployment(execution.project_id, execution.deployment_id)
        if active is None:
            return None
        return await self._environments.routed(active, execution.execution_id, kept=execution.routed_to)

    async def _call(self, context: Context, execution: Execution, kept: bytes | Row | None) -> Call:
        request = execution.request
        try:
            given = await retry(lambda: self._given(execution, kept))
            secret = await retry(lambda: self._vault.derive(execution.project_id, EPHEMERAL_KEYS))
        except StoreError as error:
            raise Refused("error", f"What this execution was given cannot be read: {error}") from error
        expires = time.time() + context.timeout + KEY_SLACK_SECONDS
        child = f"execution:{execution.execution_id}"
        claims = key_of_code(context, expires=expires, child=child, depth=given.depth)
        return Call(
            execution_id=execution.execution_id,
            epoch=execution.epoch,
            trigger=execution.trigger,
            method=request.method,
            path=request.path,
            headers=given.headers,
            body=given.body,
            key=ephemeral_key(claims, secret, prefix="ephemeral"),
            event=request.event,
            user_id=request.user_id,
            user_jwt=await self._user_token(execution, given, expires),
            client_ip=given.client_ip,
        )

    async def _user_token(self, execution: Execution, given: Input, expires: float) -> str:
        if given.token_session is None:
            return ""
        secret = await retry(lambda: self._vault.derive(execution.project_id, USER_TOKENS))
        return user_token(
            execution.request.user_id,
            given.token_session,
            incarnation=given.user_incarnation,
            expires=expires,
            secret=secret,
        )

    async def _given(self, execution: Execution, kept: bytes | Row | None) -> Input:
        if not execution.request.input_size:
            return NOTHING
        if kept is None:
            raise ContentMissing
        sealed = kept if isinstance(kept, bytes) else await self._contents.opened(kept, execution.id, KIND)
        return await open_input(self._vault, execution.project_id, execution.id, sealed)

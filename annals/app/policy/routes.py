"""The operations on policies."""

from annals.app.as_of import moment, rows
from annals.app.as_of.rows import require_function
from annals.app.edge import operation
from annals.app.edge.answers import Answer, json_answer
from annals.app.edge.call import Call
from annals.app.edge.code_scopes import require_of_function
from annals.app.identity.scopes import FUNCTIONS_READ, FUNCTIONS_WRITE
from annals.app.policy import parameters, schemas
from annals.app.reads import Lookup
from annals.domain.commands.functions import change_policy
from annals.domain.deployment import Deployment
from annals.domain.errors import Conflict
from annals.domain.function import Function
from annals.domain.policy import Policy, policy_from
from annals.store.postgres import sql
from annals.store.postgres.database import Row

QUERIES = sql.load(__package__, "queries.sql")
POLICY = Lookup(QUERIES["policies"], 2)
_ATTEMPTS = 5
"""How often a patch is merged again after another caller changed the policy."""


async def get_as_of(call: Call) -> Answer:
    past = await moment.requested(call)
    function = await rows.function(call, past, call.values["functionId"])
    statuses: dict[str, str] = {}
    for share in policy_from(function["policy"]).traffic:
        row = await rows.row(call, past, "deployments", share.deployment_id)
        if row is not None and row["function_sequence"] == function["sequence"]:
            statuses[share.deployment_id] = row["status"]
    return json_answer(schemas.present(function, statuses))


class PolicyController(operation.ResourceController):
    path = "/v1/functions/{functionId:str}/policy"

    @operation.get(scopes=FUNCTIONS_READ, parameters=parameters.ONE, as_of=get_as_of)
    async def get(self, call: Call) -> Answer:
        return await _read(call)

    @operation.put(scopes=FUNCTIONS_WRITE, parameters=parameters.PUT, code_scopes=require_of_function)
    async def put(self, call: Call) -> Answer:
        """Replace the whole policy: what is left out gets its default."""
        return await _replace(call, parameters.policy(call.values))

    @operation.patch(scopes=FUNCTIONS_WRITE, parameters=parameters.PATCH, code_scopes=require_of_function)
    async def patch(self, call: Call) -> Answer:
        """Change what is sent and keep the rest; null resets to the default. Raises Conflict."""
        key = Function.key(call.project_id, call.values["functionId"])
        for attempt in range(_ATTEMPTS):
            former: Policy = (await call.services.log.load(key)).policy
            try:
                return await _replace(call, parameters.merged(former, call.values["patch"]), former=former)
            except Conflict:
                if attempt == _ATTEMPTS - 1:
                    raise
        raise Conflict


async def _read(call: Call) -> Answer:
    found = await call.services.reads.look_up(POLICY, call.project_id, call.values["functionId"])
    return await _answer(call, require_function(call, found))


async def _replace(call: Call, policy: Policy, *, former: Policy | None = None) -> Answer:
    function_id = call.values["functionId"]
    function = require_function(call, await call.services.reads.look_up(POLICY, call.project_id, function_id))
    recorded = await call.services.log.run(
        change_policy,
        Function.key(call.project_id, function_id),
        *(Deployment.key(call.project_id, share.deployment_id) for share in policy.traffic),
        meta=await call.meta(),
        policy=policy,
        incarnation=function["sequence"],
        former=former,
    )
    call.seen(recorded.position)
    changed = recorded.rows.get("functions")
    return await _answer(call, changed[0]) if changed else await _read(call)


async def _answer(call: Call, function: Row) -> Answer:
    named = [share.deployment_id for share in policy_from(function["policy"]).traffic]
    if not named:
        return json_answer(schemas.present(function, {}))
    asked = (call.project_id, named, function["sequence"])
    found = await call.services.reads.rows(QUERIES["statuses"], asked)
    return json_answer(schemas.present(function, {row["deployment_id"]: row["status"] for row in found.rows}))

"""The operations on the policies of functions, their parameters and wire models."""

from collections.abc import Mapping, Sequence
from typing import Any, get_args

import msgspec

from annals.app.as_of.rows import LIVE, Tables, past_function, requested_tables, require_function
from annals.app.deployments.queries import LIST as DEPLOYMENTS
from annals.app.edge import operation
from annals.app.edge.answers import Answer, json_answer
from annals.app.edge.call import Call
from annals.app.edge.code_scopes import require_of_function
from annals.app.identity.scopes import FUNCTIONS_READ, FUNCTIONS_WRITE
from annals.app.parameters import (
    ArrayList,
    IntegerRange,
    OneOf,
    ParameterGroup,
    Parameters,
    StrictParameters,
    Text,
    Uid,
    optional,
    required,
)
from annals.app.reads import Lookup
from annals.domain.commands.functions import change_policy
from annals.domain.deployment import Deployment
from annals.domain.errors import ArgumentInvalid, Conflict
from annals.domain.function import Function
from annals.domain.policy import Policy, RetriedReason, Retries, Scaling, Share, policy_from
from annals.store.postgres import sql
from annals.store.postgres.database import Row

QUERIES = sql.load(__package__, "queries.sql")
POLICY = Lookup(QUERIES["policies"], 2)
_ATTEMPTS = 5
"""How often a patch is merged again after another caller changed the policy."""


class ScalingModel(msgspec.Struct, rename="camel", kw_only=True):
    """0 stands for the instance's setting."""

    min_warm: int
    max_instances: int
    concurrency: int
    idle_seconds: int


class RetriesModel(msgspec.Struct, rename="camel", kw_only=True):
    """`attempts` counts all attempts; 1 means no retry."""

    attempts: int
    backoff_seconds: int
    max_age_seconds: int
    on: Sequence[str]


class ShareModel(msgspec.Struct, rename="camel", kw_only=True):
    """`status` is the deployment's, or "deleted" if it is gone.

    Only a "ready" deployment gets its share of the calls. The active deployment gets the calls of other shares.
    """

    deployment_id: str
    percent: int
    status: str


class FunctionPolicyModel(msgspec.Struct, rename="camel", kw_only=True):
    """How the calls of a function are run."""

    function_id: str
    scaling: ScalingModel
    retries: RetriesModel
    traffic: Sequence[ShareModel]


def present(row: Mapping[str, Any], statuses: Mapping[str, str]) -> FunctionPolicyModel:
    """Return the policy of a row of `functions`, live or past, with the statuses of the deployments that it names."""
    policy = policy_from(row["policy"])
    return FunctionPolicyModel(
        function_id=row["function_id"],
        scaling=ScalingModel(**msgspec.structs.asdict(policy.scaling)),
        retries=RetriesModel(**msgspec.structs.asdict(policy.retries)),
        traffic=[
            ShareModel(**msgspec.structs.asdict(share), status=statuses.get(share.deployment_id, "deleted"))
            for share in policy.traffic
        ],
    )


MOST_INSTANCES = 1000
MOST_CALLS = 10_000
MOST_ATTEMPTS = 20
MOST_SHARES = 10
_DAY = 86_400
_REASONS = get_args(RetriedReason)
_USUAL = Retries()

ONE = Parameters(functionId=required(Uid()))
_SHARE = ParameterGroup(
    deploymentId=required(Uid()), percent=required(IntegerRange(1, 100)), status=optional(Text(36, 0))
)
"""`status` is part of answers: clients may send it back with the share, and it is ignored."""

_WHOLE = StrictParameters(
    scaling=optional(
        ParameterGroup(
            minWarm=optional(IntegerRange(0, MOST_INSTANCES), 0),
            maxInstances=optional(IntegerRange(0, MOST_INSTANCES), 0),
            concurrency=optional(IntegerRange(0, MOST_CALLS), 0),
            idleSeconds=optional(IntegerRange(0, _DAY), 0),
        )
    ),
    retries=optional(
        ParameterGroup(
            attempts=optional(IntegerRange(1, MOST_ATTEMPTS), _USUAL.attempts),
            backoffSeconds=optional(IntegerRange(1, 3600), _USUAL.backoff_seconds),
            maxAgeSeconds=optional(IntegerRange(1, 14 * _DAY), _USUAL.max_age_seconds),
            on=optional(ArrayList(OneOf(_REASONS), len(_REASONS)), list(_USUAL.on)),
        )
    ),
    traffic=optional(ArrayList(_SHARE, MOST_SHARES), []),
)

PUT = StrictParameters(**dict(ONE.lines), **dict(_WHOLE.lines))


class _Patch(StrictParameters):
    """The names of a whole policy. The values are validated after they are merged with the present policy."""

    def parse(self, sent: Mapping[str, Any]) -> dict[str, Any]:
        """Return the sent part of the policy as `patch`. Raises ArgumentInvalid."""
        self.refuse_unknown(sent)
        return {**ONE.parse(sent), "patch": {name: sent[name] for name, _ in _WHOLE.lines if name in sent}}


PATCH = _Patch(**dict(ONE.lines), **{name: optional(line.kind) for name, line in _WHOLE.lines})


def merged(former: Policy, patch: Mapping[str, Any]) -> Policy:
    """Return the policy merged with a patch (RFC 7396): null resets a field to its default. Raises ArgumentInvalid."""
    return sent_policy(_WHOLE.parse(_merged(_on_the_wire(former), patch)))


def _merged(former: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    whole = dict(former)
    for name, value in patch.items():
        group = whole.get(name)
        if value is None:
            whole.pop(name, None)
        elif isinstance(group, Mapping) and value == []:  # an empty object, as PHP encodes it
            continue
        else:
            whole[name] = _merged(group, value) if isinstance(group, Mapping) and isinstance(value, Mapping) else value
    return whole


def _on_the_wire(stored: Policy) -> dict[str, Any]:
    return {
        "scaling": _camel(msgspec.structs.asdict(stored.scaling)),
        "retries": _camel(msgspec.structs.asdict(stored.retries)),
        "traffic": [_camel(msgspec.structs.asdict(share)) for share in stored.traffic],
    }


def sent_policy(values: Mapping[str, Any]) -> Policy:
    """Return the sent policy. Groups that were not sent have their defaults. Raises ArgumentInvalid."""
    scaling, retries = values["scaling"], values["retries"]
    chosen = Policy(
        scaling=Scaling() if scaling is None else msgspec.convert(_snake(scaling), Scaling),
        retries=Retries() if retries is None else msgspec.convert(_snake(retries), Retries),
        traffic=[msgspec.convert(_snake(share), Share) for share in values["traffic"]],
    )
    most = chosen.scaling.max_instances
    if most and chosen.scaling.min_warm > most:
        raise ArgumentInvalid("Invalid `scaling` param: minWarm must not be greater than maxInstances")
    if len({share.deployment_id for share in chosen.traffic}) < len(chosen.traffic):
        raise ArgumentInvalid("Invalid `traffic` param: A deployment must not be named twice")
    if sum(share.percent for share in chosen.traffic) > 100:
        raise ArgumentInvalid("Invalid `traffic` param: The percents must not add up to more than 100")
    return chosen


_FIELDS = {
    "deploymentId": "deployment_id",
    "minWarm": "min_warm",
    "maxInstances": "max_instances",
    "idleSeconds": "idle_seconds",
    "backoffSeconds": "backoff_seconds",
    "maxAgeSeconds": "max_age_seconds",
}


def _camel(group: Mapping[str, Any]) -> dict[str, Any]:
    names = {field: name for name, field in _FIELDS.items()}
    return {names.get(field, field): value for field, value in group.items()}


def _snake(group: Mapping[str, Any]) -> dict[str, Any]:
    return {_FIELDS.get(name, name): value for name, value in group.items()}


class PolicyController(operation.ResourceController):
    path = "/v1/functions/{functionId:str}/policy"

    @operation.get(scopes=FUNCTIONS_READ, parameters=ONE, as_of=True)
    async def get(self, call: Call) -> Answer:
        return await _read(call, await requested_tables(call))

    @operation.put(scopes=FUNCTIONS_WRITE, parameters=PUT, code_scopes=require_of_function)
    async def put(self, call: Call) -> Answer:
        """Replace the whole policy. Fields that are left out get their defaults."""
        return await _replace(call, sent_policy(call.values))

    @operation.patch(scopes=FUNCTIONS_WRITE, parameters=PATCH, code_scopes=require_of_function)
    async def patch(self, call: Call) -> Answer:
        """Change the fields that are sent. Null resets a field to its default. Raises Conflict."""
        key = Function.key(call.project_id, call.values["functionId"])
        for attempt in range(_ATTEMPTS):
            former: Policy = (await call.services.log.load(key)).policy
            try:
                return await _replace(call, merged(former, call.values["patch"]), former=former)
            except Conflict:
                if attempt == _ATTEMPTS - 1:
                    raise
        raise Conflict


async def _read(call: Call, tables: Tables = LIVE) -> Answer:
    function_id = call.values["functionId"]
    if tables.past is None:
        found = require_function(call, await call.services.reads.look_up(POLICY, call.project_id, function_id))
    else:
        found = await past_function(call, tables.past, function_id)
    return await _answer(call, found, tables)


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


async def _answer(call: Call, found: Row, tables: Tables = LIVE) -> Answer:
    named = [share.deployment_id for share in policy_from(found["policy"]).traffic]
    if not named:
        return json_answer(present(found, {}))
    mine, shape = tables.of_project(call.project_id), tables.schema(DEPLOYMENTS)
    text = QUERIES["statuses"].format(table=shape.table, project=mine.text, id=shape.id_column)
    rows = await call.services.reads.rows(text, (*mine.params, named, found["sequence"]))
    return json_answer(present(found, {row["deployment_id"]: row["status"] for row in rows.rows}))

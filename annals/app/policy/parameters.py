"""The parameter tables of policies."""

from collections.abc import Mapping
from typing import Any, get_args

import msgspec

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
from annals.domain.errors import ArgumentInvalid
from annals.domain.policy import Policy, RetriedReason, Retries, Scaling, Share

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
    return policy(_WHOLE.parse(_merged(_on_the_wire(former), patch)))


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


def policy(values: Mapping[str, Any]) -> Policy:
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

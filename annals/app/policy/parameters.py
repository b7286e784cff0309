"""The parameter tables of policies."""

from collections.abc import Mapping
from typing import Any, get_args

import msgspec

from annals.app.parameters import ArrayList, Group, Parameters, Range, Uid, WhiteList, optional, required
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
PUT = Parameters(
    functionId=required(Uid()),
    scaling=optional(
        Group(
            minWarm=optional(Range(0, MOST_INSTANCES), 0),
            maxInstances=optional(Range(0, MOST_INSTANCES), 0),
            concurrency=optional(Range(0, MOST_CALLS), 0),
            idleSeconds=optional(Range(0, _DAY), 0),
        )
    ),
    retries=optional(
        Group(
            attempts=optional(Range(1, MOST_ATTEMPTS), _USUAL.attempts),
            backoffSeconds=optional(Range(1, 3600), _USUAL.backoff_seconds),
            maxAgeSeconds=optional(Range(1, 14 * _DAY), _USUAL.max_age_seconds),
            on=optional(ArrayList(WhiteList(_REASONS), len(_REASONS)), list(_USUAL.on)),
        )
    ),
    traffic=optional(ArrayList(Group(deploymentId=required(Uid()), percent=required(Range(1, 100))), MOST_SHARES), []),
)


def policy(values: Mapping[str, Any]) -> Policy:
    """The whole policy that was sent; a group that was not has its defaults. Raises ArgumentInvalid."""
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


def _snake(group: Mapping[str, Any]) -> dict[str, Any]:
    return {_FIELDS.get(name, name): value for name, value in group.items()}

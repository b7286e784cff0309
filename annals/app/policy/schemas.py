"""The wire model of policies."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from annals.domain.policy import policy_from


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

"""A function's policy: how many instances and calls it may have at once, and whether runs that fail run again.

The defaults are what the contract says of every function: no instance is kept, and nothing is tried twice.
"""

import hashlib
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Literal

import msgspec

from annals.domain.ports import Reason

RetriedReason = Literal[
    "error",
    "timeout",
    "out_of_memory",
    "crashed",
    "start_failed",
    "response_too_large",
    "worker_lost",
    "deployment_missing",
    "build_not_ready",
    "runtime_unavailable",
]
"""What another attempt may be worth; a run that was canceled is never repeated."""

USUAL: list[RetriedReason] = [
    *("error", "timeout", "out_of_memory", "crashed"),
    *("start_failed", "worker_lost", "runtime_unavailable"),
]  # fmt: skip
"""What is retried unless a policy says otherwise: all that may go well the next time by itself."""

LONGEST_BACKOFF_SECONDS = 3600
"""Longest pause between two attempts, however many there were."""


class Scaling(msgspec.Struct, frozen=True, kw_only=True):
    """`min_warm` instances stand ready; 0 of the others means: as the instance's settings say.

    `concurrency` is how many calls run at once, `max_instances` on how many instances; others wait. An instance that
    has had nothing to do for `idle_seconds` is ended.
    """

    min_warm: int = 0
    max_instances: int = 0
    concurrency: int = 0
    idle_seconds: int = 0


class Retries(msgspec.Struct, frozen=True, kw_only=True):
    """`attempts` in all, 1 for no retries. The pause begins with `backoff_seconds` and doubles; no attempt is begun
    later than `max_age_seconds` after the request. `on` are the reasons that are worth another attempt."""

    attempts: int = 1
    backoff_seconds: int = 10
    max_age_seconds: int = 21_600
    on: list[RetriedReason] = msgspec.field(default_factory=lambda: list(USUAL))

    def retried(self, reason: Reason) -> bool:
        """Whether a failure of this kind is worth another attempt at all."""
        return self.attempts > 1 and reason in self.on

    def due_after(self, attempt: int, *, since: datetime, now: datetime, name: str) -> datetime | None:
        """When the next attempt is due after the one of this number failed, None when there is none.

        `since` is when the call could first run, `name` the execution's.
        """
        if attempt >= self.attempts:
            return None
        due = now + timedelta(seconds=self.pause_seconds(attempt, name=name))
        return due if due <= since + timedelta(seconds=self.max_age_seconds) else None

    def given_up(self, attempt: int, reason: str, message: str) -> str:
        """The sentence of a call that has no further attempt."""
        age = f" within {self.max_age_seconds} seconds" if attempt < self.attempts else ""
        return (
            f"Given up after {attempt} of {self.attempts} attempts{age}, the last one with {reason}. {message}".rstrip()
        )

    def pause_seconds(self, attempt: int, *, name: str) -> float:
        """How long to wait after an attempt that failed, counted from 1.

        Between half and all of the doubled pause, so that what failed together does not come back together; `name`
        decides where, so that the same attempt has the same pause whoever asks.
        """
        longest = min(self.backoff_seconds * 2 ** min(attempt - 1, 30), LONGEST_BACKOFF_SECONDS)
        chance = int.from_bytes(hashlib.blake2b(f"{name}:{attempt}".encode(), digest_size=4).digest()) / 2**32
        return float(round(longest * (0.5 + chance / 2), 3))


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """So many percent of a function's calls run a deployment that need not be the active one."""

    deployment_id: str
    percent: int


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """Everything about how a function's calls are run that is no part of its configuration.

    The active deployment gets what the shares of `traffic` leave of a hundred percent.
    """

    scaling: Scaling = Scaling()
    retries: Retries = msgspec.field(default_factory=Retries)
    traffic: list[Share] = msgspec.field(default_factory=list)

    @property
    def retries_of_calls(self) -> Retries | None:
        """What a call that is accepted now is given along, None where nothing is tried twice."""
        return self.retries if self.retries.attempts > 1 else None

    def share_of(self, execution_id: str) -> str:
        """The deployment that a share of the traffic chooses for an execution, empty for the active one.

        The id alone decides, so that whoever asks again is told the same.
        """
        if not self.traffic:
            return ""
        digest = hashlib.blake2b(execution_id.encode(), digest_size=8, person=b"traffic").digest()
        place = int.from_bytes(digest) % 100
        for share in self.traffic:
            place -= share.percent
            if place < 0:
                return share.deployment_id
        return ""


USUAL_POLICY = Policy()


def policy_from(stored: Mapping[str, Any] | None) -> Policy:
    """The policy of a row of `functions`, where an empty one stands for the defaults."""
    return msgspec.convert(stored, Policy) if stored else USUAL_POLICY

"""A function's policy: its instances and concurrent calls, its retries, and the shares of its traffic.

The defaults follow the contract: no instance is kept warm, and each call has one attempt.
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
"""Reasons that another attempt may help with. A canceled run is never repeated."""

DEFAULT_REASONS: list[RetriedReason] = [
    *("error", "timeout", "out_of_memory", "crashed"),
    *("start_failed", "worker_lost", "runtime_unavailable"),
]  # fmt: skip
"""The default reasons for retries: failures that may pass without a change."""

LONGEST_BACKOFF_SECONDS = 3600
"""The longest pause between two attempts."""


class Scaling(msgspec.Struct, frozen=True, kw_only=True):
    """`min_warm` instances are kept ready. 0 in the other fields means the value of the instance's settings.

    At most `concurrency` calls run at once on at most `max_instances` instances; others wait. An instance that is idle
    for `idle_seconds` is ended.
    """

    min_warm: int = 0
    max_instances: int = 0
    concurrency: int = 0
    idle_seconds: int = 0


class Retries(msgspec.Struct, frozen=True, kw_only=True):
    """`attempts` in all, 1 for no retries, after failures with a reason in `on`.

    The pause begins with `backoff_seconds` and doubles. No attempt starts later than `max_age_seconds` after the
    request.
    """

    attempts: int = 1
    backoff_seconds: int = 10
    max_age_seconds: int = 21_600
    on: list[RetriedReason] = msgspec.field(default_factory=lambda: list(DEFAULT_REASONS))

    def retried(self, reason: Reason) -> bool:
        """Return True if this reason may have another attempt."""
        return self.attempts > 1 and reason in self.on

    def due_after(self, attempt: int, *, since: datetime, now: datetime, name: str) -> datetime | None:
        """Return the time of the next attempt after a failed one; None if there is none.

        `since` is the time at which the call could first run, `name` the execution's.
        """
        if attempt >= self.attempts:
            return None
        due = now + timedelta(seconds=self.pause_seconds(attempt, name=name))
        return due if due <= since + timedelta(seconds=self.max_age_seconds) else None

    def given_up(self, attempt: int, reason: str, message: str) -> str:
        """Return the message of a call without further attempts."""
        age = f" within {self.max_age_seconds} seconds" if attempt < self.attempts else ""
        return (
            f"Given up after {attempt} of {self.attempts} attempts{age}, the last one with {reason}. {message}".rstrip()
        )

    def pause_seconds(self, attempt: int, *, name: str) -> float:
        """Return the pause after a failed attempt, counted from 1.

        It lies between half and all of the doubled pause, so that calls that failed together are not retried together.
        A hash of `name` decides, so that an attempt always has the same pause.
        """
        longest = min(self.backoff_seconds * 2 ** min(attempt - 1, 30), LONGEST_BACKOFF_SECONDS)
        chance = int.from_bytes(hashlib.blake2b(f"{name}:{attempt}".encode(), digest_size=4).digest()) / 2**32
        return float(round(longest * (0.5 + chance / 2), 3))


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """A percentage of a function's calls, and the deployment that runs them; it may not be the active one."""

    deployment_id: str
    percent: int


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """The rules for a function's calls besides its configuration.

    The active deployment gets the rest of the traffic that the shares leave.
    """

    scaling: Scaling = Scaling()
    retries: Retries = msgspec.field(default_factory=Retries)
    traffic: list[Share] = msgspec.field(default_factory=list)

    @property
    def retries_of_calls(self) -> Retries | None:
        """The retries of a call that is accepted now; None for one attempt."""
        return self.retries if self.retries.attempts > 1 else None

    def share_of(self, execution_id: str) -> str:
        """Return the deployment that a share of the traffic chooses for an execution; empty for the active one.

        Only the id decides, so that the answer never changes.
        """
        if not self.traffic:
            return ""
        digest = hashlib.blake2b(execution_id.encode(), digest_size=8, person=b"traffic").digest()
        percentile = int.from_bytes(digest) % 100
        for share in self.traffic:
            percentile -= share.percent
            if percentile < 0:
                return share.deployment_id
        return ""


DEFAULT_POLICY = Policy()


def policy_from(stored: Mapping[str, Any] | None) -> Policy:
    """Return the policy of a row of `functions`; an empty one stands for the defaults."""
    return msgspec.convert(stored, Policy) if stored else DEFAULT_POLICY

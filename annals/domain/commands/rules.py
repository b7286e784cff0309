"""Commands on rules."""

from typing import Any

from annals.domain.base import Aggregate
from annals.domain.rule import Rule


def create_rule(former: Rule | None, **facts: Any) -> list[Aggregate]:
    """That nobody else has the domain, in any project, is the read model's constraint."""
    return [Rule.create(former, **facts)]


def delete_rule(rule: Rule) -> list[Aggregate]:
    rule.delete()
    return [rule]

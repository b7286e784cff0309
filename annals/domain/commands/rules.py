"""Commands on rules."""

from typing import Any

from annals.domain.base import Aggregate
from annals.domain.rule import Rule


def create_rule(former: Rule | None, **fields: Any) -> list[Aggregate]:
    """Create a rule. A constraint of the read model keeps the domain unique in all projects."""
    return [Rule.create(former, **fields)]


def delete_rule(rule: Rule) -> list[Aggregate]:
    rule.delete()
    return [rule]

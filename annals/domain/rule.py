"""A rule: a host name whose requests run a function."""

from typing import ClassVar

from annals.domain.base import Aggregate, AggregateEvent, CreatedEvent, Key
from annals.domain.errors import RuleAlreadyExists, RuleNotFound


class Rule(Aggregate):
    TOPIC: ClassVar[str] = "rule"

    class Event(AggregateEvent, frozen=True):
        pass

    class Created(CreatedEvent, Event, frozen=True):
        """`domain` in lower case; `function_incarnation` is the position of the function's creation, which a later
        function of its id does not share. `branch` names a Git branch, empty for the active deployment."""

        TOPIC: ClassVar[str] = "rule.created"
        project_id: str
        rule_id: str
        domain: str
        function_id: str
        function_incarnation: int
        branch: str = ""

    class Deleted(Event, frozen=True):
        TOPIC: ClassVar[str] = "rule.deleted"

        def apply(self, aggregate: "Rule") -> None:
            aggregate.deleted = True

    def __init__(
        self, *, project_id: str, rule_id: str, domain: str, function_id: str, function_incarnation: int, branch: str
    ) -> None:
        self.project_id, self.rule_id, self.domain = project_id, rule_id, domain
        self.function_id, self.function_incarnation, self.branch = function_id, function_incarnation, branch

    @staticmethod
    def stream(project_id: str, rule_id: str) -> str:
        return f"rule:{project_id}:{rule_id}"

    @classmethod
    def key(cls, project_id: str, rule_id: str) -> Key:
        return Key(cls, cls.stream(project_id, rule_id), RuleNotFound)

    @classmethod
    def absent(cls, project_id: str, rule_id: str) -> Key:
        return Key(cls, cls.stream(project_id, rule_id), None)

    @classmethod
    def create(cls, former: "Rule | None", **facts: object) -> "Rule":
        if former is not None and not former.deleted:
            raise RuleAlreadyExists
        stream = cls.stream(str(facts["project_id"]), str(facts["rule_id"]))
        return cls.start(cls.Created, stream, former, **facts)

    def delete(self) -> None:
        self.trigger_event(self.Deleted)

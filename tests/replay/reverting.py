"""Reverts in a random history: to any moment of a function, also with deleted deployments restored."""

from typing import Any

from annals.domain.commands.functions import Revival, restore_function, revert_function
from annals.domain.deployment import Deployment
from annals.domain.errors import FunctionNotFound
from annals.domain.function import Function
from annals.store.log.log import EventLog


class RevertingActor:
    """The step; the complete actor runs the commands and knows the project."""

    p: str
    log: EventLog

    async def run(self, command: Any, *keys: Any, **arguments: Any) -> None:
        raise AssertionError("the whole actor runs commands")

    async def incarnation(self, one: int) -> int:
        raise AssertionError("the whole actor knows incarnations")

    async def revert(self, one: int, other: int, flag: bool) -> None:
        key = Function.absent(self.p, f"f{one % 3}")
        newest = await self.log.reader.position()
        position = max(1, newest - 10 * other - one)
        then, now = await self.log.reader.aggregate_at(key, position), await self.log.load(key)
        if not isinstance(then, Function) or then.deleted:
            raise FunctionNotFound
        if now.deleted:
            await self.run(restore_function, key, then=then)
        revival = await self.revival(then, position) if flag else None
        named = revival.deployment_id if revival else then.deployment_id
        keys = [Deployment.absent(self.p, named)] if named else []
        arguments = {"then": then, "revival": revival, "incarnation": await self.incarnation(one)}
        await self.run(revert_function, Function.key(self.p, then.function_id), *keys, **arguments)

    async def revival(self, then: Function, position: int) -> Revival | None:
        """Revive a deployment that was ready. The API does so for deleted ones only."""
        key = Deployment.absent(self.p, then.deployment_id)
        former = await self.log.reader.aggregate_at(key, position)
        if not isinstance(former, Deployment) or former.source is None or former.artefact is None:
            return None
        own_id = f"r{position}"
        return Revival(deployment_id=own_id, former=former, source=former.source, artefact=former.artefact)

"""A scenario drawn from a seed: the actions of clients, the faults meanwhile, and the calm after them."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from typing import NamedTuple

from tests.simulation.clients import Client
from tests.simulation.closing import judge, until_calm
from tests.simulation.tenants import Tenant
from tests.simulation.tenants import judge as judge_tenant
from tests.simulation.world import World

NODES = ("api1", "api2", "worker1", "worker2", "keeper1", "keeper2")
FUNCTIONS = ("f1", "f2")
SCHEDULES = ("", "", "* * * * *", "*/2 * * * *", "0 0 * * *")


REUSES = 0.2
"""The share of scenarios in which a second project is deleted and created again under load."""


class Theme(NamedTuple):
    """The main subject of a scenario: how often each action is drawn, and which faults occur."""

    acts: Mapping[str, float]
    breaks: Sequence["Break"]


async def random_scenario(world: World) -> None:
    """Run a whole scenario."""
    rng = random.Random(world.rng.getrandbits(64))
    world.clocks.beginning += timedelta(seconds=rng.uniform(0, 180))
    for name in NODES:
        world.start(name)
    await asyncio.sleep(0.5)
    length = rng.uniform(4, 14)
    theme = rng.choice(THEMES)
    breaking = [_break(world, rng, length, theme.breaks) for _ in range(rng.choice([0, 1, 1, 2, 3]))]
    hurry = [_hurry(world)] if rng.random() < 0.2 else []
    own = random.Random(f"{world.seed} tenant")
    tenant = Tenant(world, own) if own.random() < REUSES else None
    tenants = [tenant.use(length)] if tenant is not None else []
    await asyncio.gather(_use(world, rng, length, theme.acts), *breaking, *hurry, *tenants)
    await calm(world)
    if tenant is not None:
        judge_tenant(world, tenant)


async def calm(world: World) -> None:
    """Repair all faults, and check that all work ends."""
    world.say("calm")
    faults = world.server.faults
    faults.before = faults.after = world.blobs.faults.before = world.blobs.faults.after = 0.0
    world.server.restart()
    world.executor.restart()
    world.queue.up = True
    queue, executor = world.queue.faults, world.executor.faults
    queue.drop = queue.double = queue.delay = queue.reorder = executor.hang = executor.slow = 0.0
    for name, node in list(world.nodes.items()):
        world.thaw(name)
        if not node.alive:
            world.start(name)
    await asyncio.sleep(0.5)
    await until_calm(world)
    judge(world)


async def _use(world: World, rng: random.Random, length: float, acts: Mapping[str, float]) -> None:
    """Let clients work for a time."""
    clients = [Client(world, name) for name in ("api1", "api2")]
    first = clients[0]
    await _settled(first.begin("create f1", first.create_function("f1", marker="0", schedule=rng.choice(SCHEDULES))))
    await _settled(first.begin("deploy f1 d0", first.deploy("f1", "d0", activate=True)))
    if world.rng.random() < 0.3:
        world.bounded = True
        await _settled(first.begin("f1 runs 1 at once", first.change_policy("f1", attempts=1, concurrency=1)))
        await asyncio.sleep(1.5)
    user = User(world, rng, clients, acts)
    end = world.loop.time() + length
    for _ in range(rng.randrange(4, 24)):
        await asyncio.sleep(rng.random() ** 3 * length / 3)
        if world.loop.time() > end:
            return
        user.act()


async def _settled(task: "asyncio.Task[object]") -> None:
    await asyncio.wait([task], timeout=5.0)


class User:
    """A user that draws its next action, mostly on existing resources."""

    def __init__(self, world: World, rng: random.Random, clients: list[Client], acts: Mapping[str, float]) -> None:
        self._world, self._rng, self._clients, self._acts = world, rng, clients, acts
        self._deployments = [("f1", "d0")]
        self._executions: list[tuple[str, str]] = []
        self._number = 0

    def act(self) -> None:
        client = self._rng.choice(self._clients)
        self._number += 1
        (act,) = self._rng.choices(list(self._acts), list(self._acts.values()))
        getattr(self, f"_{act}")(client)

    def _request(self, client: Client) -> None:
        for _ in range(self._rng.choice([1, 1, 3])):
            self._number += 1
            function, own_id = self._rng.choice(FUNCTIONS), f"x{self._number}"
            self._executions.append((function, own_id))
            client.begin(f"request {function} {own_id}", client.request(function, own_id))

    def _run_now(self, client: Client) -> None:
        function = self._rng.choice(FUNCTIONS)
        client.begin(f"run {function}", client.run_now(function))

    def _later(self, client: Client) -> None:
        own_id, after = f"x{self._number}", self._rng.uniform(-1, 12)
        self._executions.append(("f1", own_id))
        client.begin(f"schedule f1 {own_id} in {after:.1f} s", client.request("f1", own_id, after=after))

    def _cancel(self, client: Client) -> None:
        if self._executions:
            function, own_id = self._rng.choice(self._executions[-4:])
            client.begin(f"cancel {own_id}", client.cancel(function, own_id))

    def _delete_execution(self, client: Client) -> None:
        if self._executions:
            function, own_id = self._rng.choice(self._executions)
            client.begin(f"delete {own_id}", client.delete_execution(function, own_id))

    def _deploy(self, client: Client) -> None:
        function, own_id = self._rng.choice(FUNCTIONS), f"d{self._number}"
        self._deployments.append((function, own_id))
        activate = self._rng.random() < 0.7
        client.begin(f"deploy {function} {own_id} {activate}", client.deploy(function, own_id, activate=activate))

    def _activate(self, client: Client) -> None:
        function, own_id = self._rng.choice(self._deployments)
        client.begin(f"activate {function} {own_id}", client.activate(function, own_id))

    def _cancel_build(self, client: Client) -> None:
        function, own_id = self._deployments[-1]
        client.begin(f"cancel build {own_id}", client.cancel_build(function, own_id))

    def _delete_deployment(self, client: Client) -> None:
        function, own_id = self._rng.choice(self._deployments)
        client.begin(f"delete {own_id}", client.delete_deployment(function, own_id))

    def _create(self, client: Client) -> None:
        function, schedule = self._rng.choice(FUNCTIONS), self._rng.choice(SCHEDULES)
        made = client.create_function(function, marker=str(self._number), schedule=schedule)
        client.begin(f"create {function} {schedule}", made)

    def _update(self, client: Client) -> None:
        function, schedule = self._rng.choice(FUNCTIONS), self._rng.choice(SCHEDULES)
        changed = client.update_function(function, marker=str(self._number), schedule=schedule)
        client.begin(f"update {function} {schedule}", changed)

    def _retry(self, client: Client) -> None:
        function, attempts, concurrency = (
            self._rng.choice(FUNCTIONS),
            self._rng.choice([1, 3]),
            self._rng.choice([0, 1, 2]),
        )
        self._world.bounded = self._world.bounded or concurrency > 0
        changed = client.change_policy(function, attempts=attempts, concurrency=concurrency)
        client.begin(f"{function} tries {attempts} times, {concurrency} at once", changed)

    def _delete_function(self, client: Client) -> None:
        function = self._rng.choice(FUNCTIONS)
        client.begin(f"delete {function}", client.delete_function(function))


async def _hurry(world: World) -> None:
    """Let minutes pass in seconds, for work that is due by the minute. One-off executions may so miss their time."""
    world.broken = True
    for _ in range(3):
        await asyncio.sleep(3.0)
        world.clocks.offsets["database"] += 57.0


async def _break(world: World, rng: random.Random, length: float, breaks: Sequence["Break"]) -> None:
    """Cause one fault at a random time, and repair it."""
    await asyncio.sleep(rng.random() * length)
    world.broken = True
    await rng.choice(breaks)(world, rng)


async def _kill(world: World, rng: random.Random) -> None:
    name = rng.choice(NODES)
    world.kill(name)
    await asyncio.sleep(rng.random() ** 2 * 6)
    if not world.nodes[name].alive:
        world.start(name)


async def _freeze(world: World, rng: random.Random) -> None:
    name = rng.choice(NODES)
    world.freeze(name)
    await asyncio.sleep(rng.random() * 12)
    world.thaw(name)


async def _crash_postgres(world: World, rng: random.Random) -> None:
    world.server.faults.after = rng.choice([0.0, 0.0, 1.0])  # its last commits may be done but not acknowledged
    await asyncio.sleep(rng.random() * 0.1)
    world.server.faults.after = 0.0
    world.say("postgres crashes")
    world.server.crash()
    await asyncio.sleep(rng.random() ** 2 * 9)
    world.server.restart()
    world.say("postgres is back")


async def _bad_network(world: World, rng: random.Random) -> None:
    faults = world.server.faults
    faults.before, faults.after = rng.choice([0.0, 0.05, 0.2]), rng.choice([0.02, 0.2, 0.5])
    world.say(f"connections break: {faults.before} before, {faults.after} after")
    await asyncio.sleep(rng.random() * 4)
    faults.before = faults.after = 0.0


async def _crash_executor(world: World, rng: random.Random) -> None:
    world.say("the executor crashes")
    world.executor.crash()
    await asyncio.sleep(rng.random() ** 2 * 6)
    world.executor.restart()


async def _bad_executor(world: World, rng: random.Random) -> None:
    faults = world.executor.faults
    faults.slow, faults.hang = rng.choice([0.0, 0.5]), rng.choice([0.0, 0.1, 0.4])
    world.say(f"the executor is slow {faults.slow}, hangs {faults.hang}")
    await asyncio.sleep(rng.random() * 8)
    faults.slow = faults.hang = 0.0


async def _bad_blobs(world: World, rng: random.Random) -> None:
    faults = world.blobs.faults
    faults.before, faults.after, faults.deadly = (rng.choice([0.0, 0.2, 0.5]) for _ in range(3))
    world.say(f"puts break off: {faults.before} before, {faults.after} after, {faults.deadly} of them deadly")
    await asyncio.sleep(rng.random() * 6)
    faults.before = faults.after = 0.0
    world.executor.restart()
    for name in ("api1", "api2"):
        if not world.nodes[name].alive:
            world.start(name)


async def _lose_queue(world: World, rng: random.Random) -> None:
    world.say("the queue is lost")
    world.queue.up = False
    world.queue.empty()
    await asyncio.sleep(rng.random() ** 2 * 4)
    world.queue.up = True
    world.queue.ring()


async def _bad_queue(world: World, rng: random.Random) -> None:
    faults = world.queue.faults
    faults.drop, faults.double = rng.choice([0.0, 0.5]), rng.choice([0.0, 0.8])
    faults.delay, faults.reorder = rng.choice([0.0, 0.5]), rng.choice([0.0, 1.0])
    world.say(f"the queue drops {faults.drop}, doubles {faults.double}, delays {faults.delay}")
    await asyncio.sleep(rng.random() * 10)
    faults.drop = faults.double = faults.delay = faults.reorder = 0.0


async def _jump(world: World, rng: random.Random) -> None:
    host = rng.choice(["database", *(node.name for node in world.nodes.values() if node.alive)])
    seconds = rng.choice([-7200.0, 7200.0, rng.uniform(-90, 90)])
    world.say(f"the clock of {host} jumps by {seconds:.0f} s")
    world.clocks.offsets[host] = world.clocks.offsets.get(host, 0.0) + seconds
    await asyncio.sleep(0)


Break = Callable[[World, random.Random], Awaitable[None]]

_ALL: Sequence[Break] = (
    *(_kill, _kill, _kill, _freeze, _crash_postgres, _bad_network, _crash_executor, _bad_executor),
    *(_lose_queue, _bad_queue, _jump, _bad_blobs),
)
_EXECUTIONS = {"request": 8, "run_now": 4, "later": 3, "cancel": 5, "delete_execution": 1, "update": 1, "retry": 2}
_BUILDS = {"deploy": 6, "activate": 4, "cancel_build": 2, "delete_deployment": 3, "request": 1}
_FUNCTIONS = {"create": 3, "update": 5, "delete_function": 1, "deploy": 2, "request": 2, "retry": 1}

THEMES = (
    Theme({**_EXECUTIONS, **_BUILDS, **_FUNCTIONS}, _ALL),
    Theme({**_EXECUTIONS, "deploy": 1, "create": 1, "delete_function": 0.3}, _ALL),
    Theme(_BUILDS, (*_ALL, _bad_queue, _bad_executor, _bad_blobs, _bad_blobs)),
    Theme(_FUNCTIONS, _ALL),
    Theme({**_EXECUTIONS, **_FUNCTIONS}, (_bad_network, _bad_network, _crash_postgres, _kill, _freeze)),
)

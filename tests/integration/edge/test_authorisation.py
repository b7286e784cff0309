"""Every route with every caller, and with ids of others, compared with one declared table."""

import asyncio
from collections.abc import Iterator

import pytest

from annals.app.services import Services
from annals.domain.scopes import PROJECT_SCOPES
from tests.integration.edge.authorisation_table import DENIED, EXPIRED, MISSING, OK, SCOPE, TABLE, Outcome, Row
from tests.integration.edge.authorisation_world import World, objects
from tests.integration.edge.client import Client, Reply
from tests.routes import ENDPOINTS

AT_ONCE = 32


@pytest.fixture
async def world(services: Services, anonymous: Client) -> World:
    made = World(services, anonymous)
    await made.fill()
    return made


def outcome(reply: Reply) -> Outcome:
    """Return the answer's outcome in the table's terms: all successes are equal, and dry runs answer 200."""
    return reply.error if reply.status >= 400 and reply.json.get("type") else (reply.status, "")


async def judge(world: World, asked: list[tuple[str, str, dict[str, str], Outcome]]) -> None:
    """Compare requests, as caller, route, ids and outcome, with the table; fail with all differences."""
    limiter = asyncio.Semaphore(AT_ONCE)

    async def ask(caller: str, route: str, ids: dict[str, str], expected: Outcome) -> Outcome:
        async with limiter:
            return outcome(await world.ask(world.callers[caller], route, TABLE[route], ids))

    answers = await asyncio.gather(*(ask(*one) for one in asked))
    found = zip(asked, answers, strict=True)
    wrong = [f"{route} by {caller}: {got} for {want}" for (caller, route, _, want), got in found if got != want]
    assert not wrong, "\n".join(wrong)


def test_table_names_every_route() -> None:
    served = {f"{operation.method} {operation.path}" for operation in ENDPOINTS}

    assert sorted(served - set(TABLE)) == [], "say in tests/integration/edge/authorisation_table.py who may do this"
    assert sorted(set(TABLE) - served) == [], "these are served no more"


async def test_every_kind_of_caller_gets_the_answer_of_the_table(world: World) -> None:
    def expected(row: Row) -> Iterator[tuple[str, Outcome]]:
        yield from (("no credential", row.guest), ("guest session", row.guest))
        yield from (("user", row.user), ("member", row.member), ("owner", row.owner))
        yield from (("admin", row.admin), ("key", row.key))
        yield from (("key expired", EXPIRED), ("key of another project", DENIED))
        if row.console:
            yield "console", OK

    asked = [(caller, route, world.own, want) for route, row in TABLE.items() for caller, want in expected(row)]

    await judge(world, asked)


async def test_key_with_one_scope_is_limited_to_that_scope(world: World) -> None:
    """Each scope of a route is enough alone, and all other scopes together are not."""
    asked = []
    for route, row in TABLE.items():
        needed = (row.scopes, row.besides)
        alone = [scope for scope in PROJECT_SCOPES if scope in " ".join(needed).split()] or PROJECT_SCOPES[:1]
        asked += [(f"key {one}", route, world.own, row.key if row.opens_to(one) else SCOPE) for one in alone]
        asked += [(f"key without {scopes}", route, world.own, SCOPE) for scopes in needed if scopes]

    await judge(world, asked)


async def test_foreign_ids_are_not_found(world: World) -> None:
    """Ids of another project, of another parent and of deleted resources answer as unknown, for every caller."""
    asked = []
    for route, row in TABLE.items():
        named = objects(route, row)
        callers = ["console"] if row.console else [name for name in ("key", "member", "owner") if row.allows(name)]
        for kind in named:
            missing = (404, row.missing.get(kind, MISSING[kind]))
            elsewhere = {**world.own, kind: world.foreign[kind]}
            gone = {**world.own, kind: world.gone[kind]}
            for caller in callers:
                if not (row.console and kind == "projectId"):  # admins have every project
                    asked.append((caller, route, elsewhere, missing))
                asked.append((caller, route, gone, OK if kind in row.kept else missing))
                if kind != named[0] or kind == "projectVariableId":
                    asked.append((caller, route, {**world.own, kind: world.sibling[kind]}, missing))

    await judge(world, asked)

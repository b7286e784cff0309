"""A read begins before its key is verified only if the key was valid lately: a wrong key costs its own lookup only."""

import asyncio
from typing import Any

import psycopg
import pytest

from annals.app.identity import credentials
from annals.app.identity.caller import Caller
from annals.app.identity.credentials import ACCESS
from annals.app.identity.wrong_key_delay import WrongKeyDelay
from annals.app.reads import BatchedReads, Lookup
from annals.app.services import Services
from annals.domain.project import Project
from tests.integration.edge import given
from tests.integration.edge.client import Client

WIDE = {"method": "contains", "attribute": "name", "values": [str(number) for number in range(490)]}
READ_TABLES = ("functions", "deployments", "executions", "variables", "users", "teams", "rules")


@pytest.fixture
def plain(plain: Client) -> Client:
    """A client by a host name of the instance's own, for which no rule is looked up."""
    return plain.with_(host="localhost")


@pytest.fixture
def order(services: Services, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The reads of this process and its verified callers, in order."""
    noted: list[str] = []
    reads, judge = services.reads, credentials.judge

    class Noting(BatchedReads):
        def __init__(self) -> None:
            """Pass everything on."""

        def rows(self, sql: str, params: tuple[Any, ...]) -> Any:
            noted.append("read")
            return reads.rows(sql, params)

        def look_up(self, lookup: Lookup, *key: str) -> Any:
            noted.append("access" if lookup is ACCESS else "read")
            return reads.look_up(lookup, *key)

    async def judging(*args: Any, **options: Any) -> Caller:
        try:
            return await judge(*args, **options)
        finally:
            noted.append("judged")

    services.reads = Noting()
    monkeypatch.setattr(credentials, "judge", judging)
    return noted


async def test_wrong_keys_only_run_their_own_lookup(
    services: Services, plain: Client, database_url: str, order: list[str]
) -> None:
    """Rows of others cannot be read meanwhile, so an answer proves that no read was waited for."""
    await given.function(plain)
    paths = ["/v1/functions", "/v1/users", "/v1/teams", "/v1/proxy/rules", "/v1/functions/f/deployments"]
    forged = "dynamic_e30.e30.e30"
    order.clear()
    async with await psycopg.AsyncConnection.connect(database_url) as other:
        await other.execute(f"LOCK TABLE {', '.join(READ_TABLES)} IN ACCESS EXCLUSIVE MODE")

        replies = await asyncio.gather(
            *(
                plain.with_(x_appwrite_key=f"bogus-{n}" if n % 2 else forged).get(paths[n % len(paths)], [WIDE, WIDE])
                for n in range(24)
            )
        )

        await other.rollback()
    assert {reply.status for reply in replies} == {401}
    assert sorted(set(order)) == ["access", "judged"]
    assert order.count("access") == 24


async def test_wrong_key_prefetches_nothing(plain: Client, order: list[str]) -> None:
    for key in ("bogus", "dynamic_e30.e30.e30"):
        await given.execute(plain.with_(x_appwrite_key=key), "f")
        assert order[:2] == ["access", "judged"]
        order.clear()


async def test_verified_key_reads_early_until_it_is_revoked(
    services: Services, plain: Client, order: list[str]
) -> None:
    async def listed() -> list[str]:
        order.clear()
        await plain.get("/v1/functions")
        return list(order)

    first, second = await listed(), await listed()
    assert first[:2] == ["access", "judged"]
    assert second[:2] == ["access", "read"]

    await services.log.run(Project.revoke_key, Project.key("p1"), meta=given.META, key_id="all")

    assert (await plain.get("/v1/functions")).error == (401, "user_unauthorized")
    assert await listed() == ["access", "judged"]


async def test_answers_to_wrong_keys_are_delayed_and_those_to_right_keys_are_not(
    services: Services, plain: Client
) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    services.wrong_key_delay = WrongKeyDelay(sleep=sleep)
    for number in range(20):
        reply = await plain.with_(x_appwrite_key=f"bogus-{number}").get("/v1/functions")
        assert reply.error == (401, "user_unauthorized")
    assert slept == sorted(slept)
    assert len(slept) == 10
    forged = await plain.with_(x_appwrite_key="dynamic_e30.e30.e30").get("/v1/functions")
    assert forged.error == (401, "general_unauthorized_scope")
    assert len(slept) == 11

    assert (await plain.get("/v1/functions")).status == 200
    assert (await plain.with_(x_appwrite_key="p1-read").get("/v1/functions")).status == 200
    assert (await plain.with_(x_appwrite_key=None).get("/v1/functions")).status == 401
    assert len(slept) == 11
    await plain.from_("203.0.113.8").with_(x_appwrite_key="bogus").get("/v1/functions")
    assert len(slept) == 11

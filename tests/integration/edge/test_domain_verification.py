"""Rules for domains need a proof of ownership if the instance requires it."""

import re
from collections.abc import AsyncIterator

import msgspec
import pytest

from annals.addresses import NameServer
from annals.app.proxy.dns import Resolver, Unresolved
from annals.app.services import Services, TextRecords
from tests.integration.edge import given
from tests.integration.edge.client import Client, Reply
from tests.integration.edge.dns_server import BROKEN, FakeRecords, Records, name_server

LONG = b"x" * 3000


@pytest.fixture
def records() -> Records:
    return {"a.test": [b"one", b"two", "\N{SNOWMAN}".encode(), b"\xff"], "none.test": [], "long.test": [LONG]}


@pytest.fixture(params=["fake", "resolver"])
async def text_records(request: pytest.FixtureRequest, records: Records) -> AsyncIterator[TextRecords]:
    """Both implementations of the port, which pass the same tests."""
    if request.param == "fake":
        yield FakeRecords(records)
        return
    async with name_server(records) as server:
        yield Resolver([server], seconds=10)


async def test_texts_of_a_name_are_returned(text_records: TextRecords) -> None:
    assert list(await text_records.of("a.test")) == ["one", "two", "\N{SNOWMAN}", "\ufffd"]
    assert list(await text_records.of("none.test")) == []
    assert list(await text_records.of("unknown.test")) == []
    with pytest.raises(Unresolved):
        await text_records.of(BROKEN)


async def test_texts_longer_than_a_datagram_are_returned(text_records: TextRecords) -> None:
    assert list(await text_records.of("long.test")) == [LONG.decode()]


async def test_next_resolver_is_asked_when_one_does_not_answer(records: Records) -> None:
    async with name_server(records) as server:
        silent = NameServer("127.0.0.1", 1)
        assert (await Resolver([silent, server], seconds=10).of("a.test"))[0] == "one"
    with pytest.raises(Unresolved):
        await Resolver([silent], seconds=0.2).of("a.test")


@pytest.fixture
async def verifying(services: Services, plain: Client, text_records: TextRecords) -> Client:
    """A client of an instance that requires a proof."""
    services.settings = msgspec.structs.replace(services.settings, domain_verification="txt")
    services.text_records = text_records
    return plain


async def rule(client: Client, domain: str) -> Reply:
    return await client.post("/v1/proxy/rules/function", domain=domain, functionId="f")


def wanted(reply: Reply) -> tuple[str, bytes]:
    """Return the record that an answer asks for."""
    assert reply.error == (401, "rule_verification_failed")
    found = re.search(r'TXT record (\S+) with the value "([^"]+)"', reply.message)
    assert found is not None, reply.message
    return found[1], found[2].encode()


async def test_rule_is_made_once_the_record_is_there(verifying: Client, records: Records) -> None:
    await given.function(verifying, functionId="f")
    name, value = wanted(await rule(verifying, "shop.example.test"))
    assert name == "_annals-challenge.shop.example.test"
    for wrong in (value[:-1], value.upper(), b"x" + value, b""):
        records[name] = [wrong]
        assert wanted(await rule(verifying, "shop.example.test")) == (name, value)
    assert (await verifying.get("/v1/proxy/rules")).json["total"] == 0

    records[name] = [b"v=spf1 -all", value]

    assert (await rule(verifying, "shop.example.test")).status == 201


async def test_record_of_one_project_or_domain_proves_nothing_for_another(verifying: Client, records: Records) -> None:
    foreign = verifying.with_(x_appwrite_project="p2", x_appwrite_key="p2-all")
    for client in (verifying, foreign):
        await given.function(client, functionId="f")
    name, value = wanted(await rule(verifying, "shop.test"))
    other, _ = wanted(await rule(verifying, "mail.test"))
    records[name] = records[other] = [value]

    assert wanted(await rule(verifying, "mail.test"))[0] == other
    assert wanted(await rule(foreign, "shop.test"))[0] == name
    assert (await rule(verifying, "shop.test")).status == 201
    records[name].append(wanted(await rule(foreign, "shop.test"))[1])
    assert (await rule(foreign, "shop.test")).error == (409, "rule_already_exists")


async def test_names_below_the_functions_domain_need_no_record(verifying: Client) -> None:
    await given.function(verifying, functionId="f")

    assert (await rule(verifying, "shop.functions.localhost")).status == 201
    wanted(await rule(verifying, "shop.evilfunctions.localhost"))


async def test_domain_that_cannot_be_looked_up_is_refused(services: Services, verifying: Client) -> None:
    await given.function(verifying, functionId="f")
    services.text_records = Resolver([NameServer("127.0.0.1", 1)], seconds=0.2)
    wanted(await rule(verifying, "shop.test"))
    longest = ".".join(["a" * 60] * 4)

    assert (await rule(verifying, longest)).error == (401, "rule_verification_failed")


async def test_instance_without_verification_makes_no_lookups(services: Services, plain: Client) -> None:
    await given.function(plain, functionId="f")
    services.text_records = Resolver([])

    assert (await rule(plain, "shop.test")).status == 201

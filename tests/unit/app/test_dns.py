"""DNS messages, including ones that no resolver sends."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annals.addresses import NameServer, parse_name_servers
from annals.app.proxy.dns import Malformed, Unresolved, answered, question, system_servers
from annals.settings import Invalid, read

QUERY = question(7, "a.test")


def reply(body: bytes, *, answers: int = 1, flags: int = 0x8180, asked: bytes = QUERY[12:]) -> bytes:
    return QUERY[:2] + flags.to_bytes(2) + (1).to_bytes(2) + answers.to_bytes(2) + bytes(4) + asked + body


def txt(data: bytes, name: bytes = b"\xc0\x0c") -> bytes:
    return name + b"\0\x10\0\x01\0\0\0\x3c" + len(data).to_bytes(2) + data


def test_texts_of_several_strings_and_records_are_joined_and_listed() -> None:
    alias = b"\xc0\x0c\0\x05\0\x01\0\0\0\x3c\0\x02\xc0\x0c"

    message = reply(alias + txt(b"\x01a\x01b") + txt(b"\0", b"\x01x\0"), answers=3)

    assert answered(QUERY, message) == ["ab", ""]


def test_truncated_answer_is_none() -> None:
    assert answered(QUERY, reply(b"", answers=0, flags=0x8380)) is None


def test_unknown_name_has_no_texts() -> None:
    assert answered(QUERY, reply(b"", answers=0, flags=0x8183)) == []


@pytest.mark.parametrize(
    "message",
    [
        b"",
        QUERY,
        b"\0\0" + reply(txt(b"\x01a"))[2:],
        reply(txt(b"\x01a"), asked=question(7, "b.test")[12:]),
        reply(b"", flags=0x8182),
        reply(b"", answers=1),
        reply(txt(b"\x05a")),
        reply(txt(b"\x01a")[:-1]),
        reply(b"\x3f" + b"a" * 9),
    ],
)
def test_unrelated_message_is_refused(message: bytes) -> None:
    with pytest.raises(Malformed):
        answered(QUERY, message)


@given(body=st.binary(max_size=200), answers=st.integers(0, 65535))
def test_any_bytes_are_texts_or_malformed(body: bytes, answers: int) -> None:
    try:
        found = answered(QUERY, reply(body, answers=answers))
    except Malformed:
        return
    assert found is not None


@pytest.mark.parametrize("name", ["a..b", "", "a" * 64, ".".join(["a" * 60] * 5)])
def test_name_that_dns_cannot_hold_is_not_queried(name: str) -> None:
    with pytest.raises(Unresolved):
        question(1, name)


def test_resolvers_are_named_by_setting_or_by_the_host(tmp_path: Path) -> None:
    named = parse_name_servers(["192.0.2.1", "192.0.2.1:5353", "2001:db8::1", "[2001:db8::1]:5353", "[2001:db8::1]"])
    file = tmp_path / "resolv.conf"
    file.write_text("search a.test\nnameserver 192.0.2.9\nnameserver\n# nameserver 192.0.2.8\n")

    six = "2001:db8::1"
    assert named == [
        NameServer("192.0.2.1"),
        NameServer("192.0.2.1", 5353),
        NameServer(six),
        NameServer(six, 5353),
        NameServer(six),
    ]
    assert system_servers(file) == [NameServer("192.0.2.9")]
    assert system_servers(tmp_path / "none") == [NameServer("127.0.0.1")]


@pytest.mark.parametrize("text", ["dns.test", "192.0.2.1:x", "192.0.2.1:0", "192.0.2.1:65536", "[::1", "[::1]5", ":53"])
def test_invalid_resolver_address_is_refused_by_the_settings(text: str) -> None:
    with pytest.raises(Invalid, match="ANNALS_DNS_SERVERS"):
        read({"ANNALS_DNS_SERVERS": text})

"""The client's address behind trusted proxies, and of connections that no trusted proxy made."""

from typing import Any

import pytest

from annals.app.identity.client_addresses import with_client_address
from annals.settings import Invalid, Settings

PROXIES = ("10.0.0.0/8", "2001:db8::1", "127.0.0.1")


def met(client: str, *forwarded: str, proto: str = "", trusted: tuple[str, ...] = PROXIES) -> tuple[str, str]:
    headers = [(b"x-forwarded-for", text.encode()) for text in forwarded]
    headers += [(b"x-forwarded-proto", proto.encode())] if proto else []
    scope: dict[str, Any] = {"client": (client, 4711), "scheme": "http", "headers": headers}
    found = with_client_address(scope, trusted)
    return found["client"][0], found["scheme"]


def test_no_proxy_is_trusted_without_a_setting() -> None:
    assert met("127.0.0.1", "203.0.113.7", proto="https", trusted=()) == ("127.0.0.1", "http")
    assert met("198.51.100.1", "203.0.113.7", proto="https") == ("198.51.100.1", "http")


@pytest.mark.parametrize(
    ("forwarded", "address"),
    [
        (["203.0.113.7"], "203.0.113.7"),
        (["203.0.113.7:5678"], "203.0.113.7"),
        (["[2001:db8::9]:443"], "2001:db8::9"),
        (["::ffff:203.0.113.7"], "203.0.113.7"),
        (["1.2.3.4, 203.0.113.7, 10.1.1.1"], "203.0.113.7"),
        (["1.2.3.4", "203.0.113.7", "10.1.1.1"], "203.0.113.7"),
        (["1.2.3.4, unknown, 10.1.1.1"], "10.1.1.1"),
        (["10.2.2.2, 10.1.1.1"], "10.2.2.2"),
        ([""], "10.0.0.5"),
        ([], "10.0.0.5"),
    ],
)
def test_last_address_outside_the_proxies_is_the_clients(forwarded: list[str], address: str) -> None:
    assert met("10.0.0.5", *forwarded)[0] == address


@pytest.mark.parametrize(("proto", "scheme"), [("https", "https"), ("HTTPS", "https"), ("ftp", "http"), ("", "http")])
def test_trusted_proxy_sets_the_scheme(proto: str, scheme: str) -> None:
    assert met("2001:db8::1", "203.0.113.7", proto=proto) == ("203.0.113.7", scheme)


def test_invalid_proxy_address_is_named_in_the_error() -> None:
    with pytest.raises(Invalid, match=r"ANNALS_TRUSTED_PROXIES .*'nginx'"):
        Settings(trusted_proxies=("10.0.0.0/8", "nginx"))

"""URLs and names of repositories, and the addresses that a fetch may connect to."""

import ipaddress

import pytest

from annals.vcs.errors import RepositoryError
from annals.vcs.guard import Guard, is_public
from annals.vcs.urls import is_repository, parse_url


def test_https_and_ssh_urls_are_read() -> None:
    assert parse_url("https://git.example.org/a/b.git").base == "https://git.example.org"
    assert parse_url("https://git.example.org:8443/a/b.git").base == "https://git.example.org:8443"
    assert parse_url("ssh://git@example.org/a/b.git")[:4] == ("ssh", "example.org", 22, "git")
    assert parse_url("https://[2001:db8::1]:8443/a").base == "https://[2001:db8::1]:8443"


@pytest.mark.parametrize(
    "url",
    [
        "ext::sh -c id",
        "file:///etc",
        "http://git.example.org/a",
        "git://git.example.org/a",
        "git@example.org:a/b",
        "ssh://-oProxyCommand=id/a",
        "ssh://git@-oProxyCommand=id/a",
        "ssh://-l@example.org/a",
        "https://user:secret@example.org/a",
        "https://user@example.org/a",
        "https://example.org/a?x=1",
        "https://example.org/a#x",
        "https://example.org/a/../b",
        "https://example.org/",
        "https://example.org/a b",
        "https://example.org/a\nb",
        "https://exa mple.org/a",
        "https://example.org:port/a",
        "https:/example.org/a",
        "https://münchen.example/a",
        "",
        "--upload-pack=id",
        "https://example.org/" + "a" * 3000,
    ],
)
def test_other_urls_are_rejected(url: str) -> None:
    with pytest.raises(RepositoryError) as refused:
        parse_url(url)
    assert refused.value.kind == "forbidden"


def test_trusted_urls_may_use_file_and_http() -> None:
    assert parse_url("file:///srv/git/a.git", trusted=True).path == "/srv/git/a.git"
    assert parse_url("http://git.internal/a", trusted=True).host == "git.internal"
    assert parse_url("http://git.internal/a", http_hosts=("git.internal",)).scheme == "http"
    assert parse_url("http://git.internal/a", http_hosts=("*",)).scheme == "http"
    for url in ("ext::sh -c id", "file://host/a", "git://a/b"):
        with pytest.raises(RepositoryError):
            parse_url(url, trusted=True)


def test_repository_name_has_plain_segments() -> None:
    assert all(is_repository(name) for name in ("a", "owner/name", "group/sub/name.git", "42", "A_b-c.d/e"))
    assert not any(
        is_repository(name)
        for name in ("", "/a", "a/", "a//b", "../a", "a/../b", "-a", "a/-b", ".git", "a b", "a:b", "a@b", "a?")
    )


@pytest.mark.parametrize(
    "address",
    [
        *(
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",  # noqa: S104 (a text)
            "224.0.0.1",
        ),
        *("255.255.255.255", "192.0.2.1", "198.18.0.1", "::1", "::", "fe80::1", "fc00::1", "ff02::1", "2001:db8::1"),
        *("::ffff:127.0.0.1", "64:ff9b::a00:1", "2002:7f00:1::", "64:ff9b::a9fe:a9fe"),
    ],
)
def test_internal_addresses_are_not_public(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", ["140.82.121.4", "2606:50c0:8000::154", "64:ff9b::8c52:7904"])
def test_public_addresses_are_public(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


def test_guard_checks_every_connection_and_program() -> None:
    guard = Guard(frozenset({ipaddress.ip_address("10.0.0.7")}))

    guard("socket.connect", (None, ("140.82.121.4", 443)))
    guard("socket.connect", (None, ("10.0.0.7", 443)))
    guard("open", ("/etc/passwd", "r", 0))
    for event, args in (
        ("socket.connect", (None, ("10.0.0.8", 443))),
        ("socket.connect", (None, ("localhost", 443))),
        ("socket.connect", (None, "/run/postgres.sock")),
        ("socket.sendto", (None, ("127.0.0.1", 53))),
        ("subprocess.Popen", ("ssh", ["ssh"], None, None)),
        ("os.posix_spawn", ("sh", [], {})),
        ("os.system", (b"id",)),
    ):
        with pytest.raises(RepositoryError):
            guard(event, args)
    Guard(frozenset(), anywhere=True)("socket.connect", (None, ("10.0.0.8", 443)))

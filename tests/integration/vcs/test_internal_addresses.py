"""No spelling of an internal address, and no redirect to one, makes a fetch connect to it."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from annals.domain.origin import Origin
from annals.vcs.client import FetchRequest, Repositories
from annals.vcs.errors import RepositoryError
from annals.vcs.jobs import FetchBounds, Git


class InternalService:
    """An internal service that counts connections. With a `redirect` it answers as an allowed host that redirects."""

    def __init__(self, redirect: str = "") -> None:
        self.redirect, self.connections = redirect, 0

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        await reader.readuntil(b"\r\n\r\n")
        head = b"HTTP/1.1 302 Found\r\nLocation: %b\r\n" if self.redirect else b"HTTP/1.1 200 OK\r\n"
        head = head % self.redirect.encode() if self.redirect else head
        writer.write(head + b"Content-Length: 0\r\nConnection: close\r\n\r\n")
        writer.close()


@pytest.fixture
async def inside() -> AsyncIterator[tuple[InternalService, int]]:
    service = InternalService()
    server = await asyncio.start_server(service.answer, "0.0.0.0", 0)  # noqa: S104 any spelling of this machine
    yield service, server.sockets[0].getsockname()[1]
    server.close()


async def error(url: str, *, hosts: tuple[str, ...] = ()) -> RepositoryError:
    wanted = FetchRequest(
        location=Git(url=url), reference_type="branch", reference="main", root_directory="", known=Origin()
    )  # fmt: skip
    with pytest.raises(RepositoryError) as refused:
        async with Repositories(allowed_hosts=hosts, bounds=FetchBounds(seconds=90)).fetch(wanted):
            pass
    return refused.value


SPELLINGS = (
    *("127.0.0.1", "127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.0.0.1", "0177.0.0.1", "017700000001"),
    *("localhost", "LOCALHOST", "localhost.", "0", "0.0.0.0", "127.255.255.254"),  # noqa: S104
    *("[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::1]", "[0:0:0:0:0:0:0:1]", "[::]", "[64:ff9b::7f00:1]"),
)


@pytest.mark.timeout(600)
async def test_no_spelling_of_loopback_is_reached(inside: tuple[InternalService, int]) -> None:
    service, port = inside
    errors = await asyncio.gather(*(error(f"https://{host}:{port}/team/app") for host in SPELLINGS))

    assert service.connections == 0
    assert {failure.kind for failure in errors} <= {"forbidden", "unreachable"}


@pytest.mark.timeout(600)
async def test_redirect_of_an_allowed_host_reaches_no_internal_service(inside: tuple[InternalService, int]) -> None:
    """A redirect to another port, another spelling of the host or another scheme is not followed."""
    service, port = inside
    targets = [
        *(f"http://{host}:{port}/team/app/info/refs" for host in ("127.0.0.1", "localhost", "2130706433", "[::1]")),
        *("file:///etc/passwd", "gopher://127.0.0.1:1/", f"//127.0.0.1:{port}/x", f"http://a@127.0.0.1:{port}/x"),
    ]
    for target in targets:
        host = InternalService(target)
        server = await asyncio.start_server(host.answer, "127.0.0.1", 0)
        at = server.sockets[0].getsockname()[1]

        failure = await error(f"http://127.0.0.1:{at}/team/app", hosts=("127.0.0.1",))

        server.close()
        assert host.connections >= 1, "the allowed host itself was not asked"
        assert failure.kind in {"forbidden", "unreachable", "failed"}
    assert service.connections == 0

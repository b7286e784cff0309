"""No spelling of an internal address, and no host that points to one, makes a fetch knock there."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from annals.domain.origin import Origin
from annals.vcs.client import Repositories, Wanted
from annals.vcs.errors import RepositoryError
from annals.vcs.jobs import Bounds, Git


class DispatchSocket:
    """A service of the inside, which counts who knocks; as a host that is allowed, it sends callers elsewhere."""

    def __init__(self, elsewhere: str = "") -> None:
        self.elsewhere, self.knocks = elsewhere, 0

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.knocks += 1
        await reader.readuntil(b"\r\n\r\n")
        head = b"HTTP/1.1 302 Found\r\nLocation: %b\r\n" if self.elsewhere else b"HTTP/1.1 200 OK\r\n"
        head = head % self.elsewhere.encode() if self.elsewhere else head
        writer.write(head + b"Content-Length: 0\r\nConnection: close\r\n\r\n")
        writer.close()


@pytest.fixture
async def inside() -> AsyncIterator[tuple[DispatchSocket, int]]:
    door = DispatchSocket()
    server = await asyncio.start_server(door.answer, "0.0.0.0", 0)  # noqa: S104 any spelling of this machine
    yield door, server.sockets[0].getsockname()[1]
    server.close()


async def refusal(url: str, *, hosts: tuple[str, ...] = ()) -> RepositoryError:
    wanted = Wanted(
        place=Git(url=url), reference_type="branch", reference="main", root_directory="", known=Origin()
    )  # fmt: skip
    with pytest.raises(RepositoryError) as refused:
        async with Repositories(allowed_hosts=hosts, bounds=Bounds(seconds=90)).fetch(wanted):
            pass
    return refused.value


SPELLINGS = (
    *("127.0.0.1", "127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.0.0.1", "0177.0.0.1", "017700000001"),
    *("localhost", "LOCALHOST", "localhost.", "0", "0.0.0.0", "127.255.255.254"),  # noqa: S104
    *("[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::1]", "[0:0:0:0:0:0:0:1]", "[::]", "[64:ff9b::7f00:1]"),
)


@pytest.mark.timeout(600)
async def test_no_spelling_of_this_machine_is_reached(inside: tuple[DispatchSocket, int]) -> None:
    door, port = inside
    refused = await asyncio.gather(*(refusal(f"https://{host}:{port}/team/app") for host in SPELLINGS))

    assert door.knocks == 0
    assert {one.kind for one in refused} <= {"forbidden", "unreachable"}


@pytest.mark.timeout(600)
async def test_a_host_that_is_allowed_sends_nobody_inside(inside: tuple[DispatchSocket, int]) -> None:
    """Neither to another port of its own, nor to another spelling of itself, nor to another scheme."""
    door, port = inside
    targets = [
        *(f"http://{host}:{port}/team/app/info/refs" for host in ("127.0.0.1", "localhost", "2130706433", "[::1]")),
        *("file:///etc/passwd", "gopher://127.0.0.1:1/", f"//127.0.0.1:{port}/x", f"http://a@127.0.0.1:{port}/x"),
    ]
    for target in targets:
        host = DispatchSocket(target)
        server = await asyncio.start_server(host.answer, "127.0.0.1", 0)
        at = server.sockets[0].getsockname()[1]

        told = await refusal(f"http://127.0.0.1:{at}/team/app", hosts=("127.0.0.1",))

        server.close()
        assert host.knocks >= 1, "the allowed host itself was not asked"
        assert told.kind in {"forbidden", "unreachable", "failed"}
    assert door.knocks == 0

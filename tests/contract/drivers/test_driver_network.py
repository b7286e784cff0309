"""Isolated sandboxes reach the internet, but neither the host, nor cloud metadata, nor each other."""

import asyncio
import hashlib
import os
import re
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from annals.executor.drivers.sandbox import SandboxDriver
from annals.executor.isolation.network import unusable
from tests.contract.drivers import cloud
from tests.contract.drivers.hosts import Shell, address_in, configuration, heard_with

SERVE = """
import fcntl, socket, struct
server = socket.create_server(("0.0.0.0", 4444))
asked = fcntl.ioctl(server.fileno(), 0x8915, struct.pack("256s", b"eth0"))
print("AT", socket.inet_ntoa(asked[20:24]), flush=True)
server.accept()
print("VISITED", flush=True)
"""

pytestmark = [pytest.mark.timeout(300), pytest.mark.skipif(bool(unusable()), reason=unusable())]


@pytest.fixture
async def listening() -> AsyncIterator[int]:
    """A service of the host on all its addresses, as a database that was opened too far."""

    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"GREETED\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(greet, "0.0.0.0")  # noqa: S104 that is the case
    yield server.sockets[0].getsockname()[1]
    server.close()


@pytest.fixture
async def isolated(folder: Path, listening: int) -> AsyncIterator[Shell]:
    config = configuration(folder, "sandbox")
    config.work.mkdir(mode=0o711)
    closed = ((cloud.OPEN, cloud.SECOND),)
    driver = SandboxDriver(msgspec.structs.replace(config, network="isolated", network_closed=closed))
    await driver.open()
    yield Shell(config, driver)
    await driver.close()
    own = f"an{hashlib.sha256(os.fsencode(config.work)).hexdigest()[:8]}"
    async with asyncio.timeout(60):
        while [name for _, name in socket.if_nameindex() if name.startswith(own)]:
            await asyncio.sleep(0.05)


def reach(address: str, port: int) -> str:
    return f"timeout 3 bash -c 'cat < /dev/tcp/{address}/{port}' || echo REFUSED"


@pytest.mark.usefixtures("beyond")
async def test_hosts_services_are_out_of_reach(isolated: Shell, listening: int) -> None:
    gateway = "python3 -c \"import socket,struct; print(socket.inet_ntoa(struct.pack('<I', int(open('/proc/net/route')"
    gateway += '.readlines()[1].split()[2], 16))))"'
    targets = [(address, listening) for address in (cloud.NEAR, "127.0.0.1", f"$({gateway})")]
    with socket.create_connection((cloud.NEAR, listening), 60):
        assert await isolated.reached(*targets) == [False] * 3


@pytest.mark.usefixtures("beyond")
async def test_hosts_beyond_this_one_are_reached_except_metadata_and_named_services(isolated: Shell) -> None:
    assert await isolated.reached(*cloud.TARGETS) == [True, *[False] * (len(cloud.TARGETS) - 1)]


async def test_allowed_port_of_the_host_is_reached(folder: Path, listening: int) -> None:
    config = configuration(folder, "sandbox")
    config.work.mkdir(mode=0o711)
    driver = SandboxDriver(msgspec.structs.replace(config, network="isolated", network_allow=(listening,)))
    await driver.open()
    shell = Shell(config, driver)
    route = "int(open('/proc/net/route').readlines()[1].split()[2], 16)"
    ask = f"import socket, struct; a = socket.inet_ntoa(struct.pack('<I', {route}));"
    ask += f" print(socket.create_connection((a, {listening}), 60).recv(99))"
    _, output = await shell.run(f'python3 -c "{ask}"')
    await driver.close()

    assert "GREETED" in output


async def test_sandboxes_do_not_reach_each_other(isolated: Shell) -> None:
    heard: list[bytes] = []
    server = asyncio.create_task(isolated.run(f"python3 -c '{SERVE}'", seconds=600, hear=heard.append))
    address = address_in(await heard_with(heard, b"AT 100."))
    _, output = await isolated.run(reach(address, 4444))
    visited = b"VISITED" in b"".join(heard)
    with socket.create_connection((address, 4444), 60):  # the host does, so it was there to be reached
        await heard_with(heard, b"VISITED")
    server.cancel()
    await asyncio.wait((server,))

    assert "REFUSED" in output
    assert not visited


async def test_each_sandbox_has_its_own_interfaces_and_cannot_change_them(isolated: Shell) -> None:
    _, output = await isolated.run(
        "cat /proc/net/dev; LC_ALL=C /usr/sbin/ip link set eth0 down 2>&1 || echo KEPT; cat /proc/net/unix | wc -l"
    )

    assert "eth0" in output
    assert "docker0" not in output
    assert "Operation not permitted" in output
    assert "KEPT" in output


async def test_names_are_looked_up_as_on_the_host(isolated: Shell) -> None:
    look = "import socket; print('FOUND:%d' % len(socket.getaddrinfo('pypi.org', 443)))"
    known = subprocess.run([sys.executable, "-c", look], capture_output=True, check=False).returncode == 0
    _, output = await isolated.run(f'python3 -c "{look}"')

    assert bool(re.search(r"FOUND:\d", output)) == known

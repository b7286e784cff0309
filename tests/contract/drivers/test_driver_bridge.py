"""Containers reach the internet and the API's port, and nothing else of this host."""

import asyncio
import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from annals.executor.config import ExecutorConfig
from annals.executor.drivers.docker import DockerDriver
from annals.executor.drivers.engine import BRIDGE, connect, engine_problem
from annals.executor.errors import ApiUnreachable, NetworkUnusable
from annals.executor.isolation.network import unclosable
from tests.contract.drivers import cloud
from tests.contract.drivers.hosts import Shell, address_in, configuration, heard_with

pytestmark = [pytest.mark.timeout(300), pytest.mark.docker]

GATEWAY = "python3 -c \"import socket,struct; print(socket.inet_ntoa(struct.pack('<I', int(open('/proc/net/route')"
GATEWAY += '.readlines()[1].split()[2], 16))))"'

NEIGHBOUR = """
import fcntl, socket, struct
server = socket.create_server(("0.0.0.0", 4444))
asked = fcntl.ioctl(server.fileno(), 0x8915, struct.pack("256s", b"eth0"))
print("AT", socket.inet_ntoa(asked[20:24]), "HERE", flush=True)
while True:
    server.accept()[0].sendall(b"GREETED" + bytes([10]))
"""


@pytest.fixture
async def listening() -> AsyncIterator[list[int]]:
    """Two services of the host on all its addresses."""

    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"GREETED\n")
        await writer.drain()
        writer.close()

    servers = [await asyncio.start_server(greet, "0.0.0.0") for _ in range(2)]  # noqa: S104 that is the case
    ports = [server.sockets[0].getsockname()[1] for server in servers]
    former = ["nft", "delete", "element", "inet", BRIDGE, "open", f"{{ {ports[1]} }}"]
    subprocess.run(former, capture_output=True, check=False)  # it may have been an earlier executor's, which stays open
    yield ports
    for server in servers:
        server.close()


@pytest.fixture
async def enclosed(folder: Path, listening: list[int]) -> AsyncIterator[Shell]:
    """A docker driver that opens the first of the two, and closes one beyond the host."""
    network = {"network_allow": (listening[0],), "network_closed": ((cloud.OPEN, cloud.SECOND),)}
    config = msgspec.structs.replace(configuration(folder, "docker"), **network)
    if problem := engine_problem(config):
        pytest.skip(problem)
    config.work.mkdir(mode=0o711)
    driver = DockerDriver(config)
    await driver.open()
    if problem := unclosable(BRIDGE):
        pytest.skip(problem)
    yield Shell(config, driver)
    await driver.close()


async def test_only_the_allowed_port_of_the_host_is_reached(enclosed: Shell, listening: list[int]) -> None:
    assert await enclosed.reached(*((f"$({GATEWAY})", port) for port in listening)) == [True, False]


@pytest.mark.usefixtures("beyond")
async def test_no_other_address_of_the_host_is_reached(enclosed: Shell, listening: list[int]) -> None:
    with socket.create_connection((cloud.NEAR, listening[1]), 60):
        assert await enclosed.reached((cloud.NEAR, listening[1]), ("127.0.0.1", listening[1])) == [False, False]


@pytest.mark.usefixtures("beyond")
async def test_hosts_beyond_this_one_are_reached_except_metadata_and_named_services(enclosed: Shell) -> None:
    assert await enclosed.reached(*cloud.TARGETS) == [True, *[False] * (len(cloud.TARGETS) - 1)]


async def test_containers_do_not_reach_each_other(enclosed: Shell) -> None:
    heard: list[bytes] = []
    neighbour = asyncio.create_task(enclosed.run(f"python3 -c '{NEIGHBOUR}'", seconds=600, hear=heard.append))
    address = address_in(await heard_with(heard, b"HERE\r\n"))
    with socket.create_connection((address, 4444), 60) as peer:  # the host does, so it is there to be reached
        assert peer.recv(99) == b"GREETED\n"
    answers = await enclosed.run(f"timeout 3 bash -c 'cat < /dev/tcp/{address}/4444' || echo REFUSED")
    neighbour.cancel()
    await asyncio.wait((neighbour,))

    assert "REFUSED" in answers[1]
    assert "GREETED" not in answers[1]


async def test_network_limit_is_reported_as_enforced_by_the_kernel(enclosed: Shell) -> None:
    assert enclosed.driver.enforced()["network"] == "kernel"


@pytest.fixture
def unopened(folder: Path) -> ExecutorConfig:
    config = configuration(folder, "docker")
    if problem := engine_problem(config):
        pytest.skip(problem)
    config.work.mkdir(mode=0o711)
    return config


async def opened(config: ExecutorConfig) -> None:
    driver = DockerDriver(config)
    try:
        await driver.open()
    finally:
        await driver.close()


async def test_driver_opens_only_if_containers_reach_the_api(unopened: ExecutorConfig, listening: list[int]) -> None:
    await opened(unopened)  # creates the network
    with closing(connect()) as client:
        [network] = client.networks.list(names=["^annals$"])
    gateway = network.attrs["IPAM"]["Config"][0]["Gateway"]
    allowed = msgspec.structs.replace(unopened, network_allow=(listening[0],))

    await opened(msgspec.structs.replace(allowed, api_url=f"http://{gateway}:{listening[0]}/v1"))
    with pytest.raises(ApiUnreachable, match=r"nothing answered .* Publish the API's port"):
        await opened(msgspec.structs.replace(allowed, api_url=f"http://{gateway}:{listening[1]}/v1"))


async def test_driver_refuses_a_network_in_which_functions_reach_each_other(unopened: ExecutorConfig) -> None:
    with closing(connect()) as client:
        network = client.networks.create(f"annals-test-{unopened.work.parent.name}", driver="bridge")
        try:
            with pytest.raises(NetworkUnusable, match="lets functions reach each other"):
                await opened(msgspec.structs.replace(unopened, docker_network=network.name))
        finally:
            network.remove()

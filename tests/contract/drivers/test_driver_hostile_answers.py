"""Code that speaks for itself on its server's connections: whatever it says harms its own call alone."""

import asyncio
from pathlib import Path

import pytest

from tests.contract.drivers.hosts import Host

HOSTILE = """
import os, socket, time

def asked():
    # the connections that the server was called on, and no others of its own
    for fd in [int(name) for name in os.listdir("/proc/self/fd")]:
        try:
            peer = socket.socket(fileno=os.dup(fd))
            peer.getpeername()
            at = peer.getsockname()
        except OSError:
            continue
        if at and (isinstance(at, str) or at[1] == 3000):
            peer.settimeout(5)
            yield peer

def say(data):
    for peer in connections:
        try:
            peer.sendall(data)
        except OSError:
            continue

def main(context):
    global connections
    connections = list(asked())
    how = context.req.path
    if how == "/headers":
        say(b"HTTP/1.1 200 OK\\r\\n" + b"".join(b"h%d: x\\r\\n" % n for n in range(100_000)) + b"\\r\\n")
    elif how == "/body":
        say(b"HTTP/1.1 200 OK\\r\\ntransfer-encoding: chunked\\r\\n\\r\\n")
        for _ in range(2000):
            say(b"10000\\r\\n" + bytes(65536) + b"\\r\\n")
    elif how == "/chunks":
        say(b"HTTP/1.1 200 OK\\r\\ntransfer-encoding: chunked\\r\\n\\r\\nzz\\r\\nhello\\r\\n")
    elif how == "/close":
        say(b"HTTP/1.1 200 OK\\r\\ncontent-length: 500\\r\\n\\r\\ncut")
        os._exit(0)
    elif how == "/twice":
        one = b"HTTP/1.1 200 OK\\r\\ncontent-length: 5\\r\\n\\r\\n"
        say(one + b"first" + one + b"other")
    elif how == "/garbage":
        say(os.urandom(4096))
    return context.res.text("honest")
"""

pytestmark = pytest.mark.timeout(300)


@pytest.mark.parametrize("how", ["headers", "body", "chunks", "close", "garbage"])
async def test_an_answer_that_breaks_the_rules_fails_its_own_call_alone(host: Host, how: str) -> None:
    run = await host.function(HOSTILE)

    outcome = await host.execute(run, path=f"/{how}", execution="hostile")

    assert outcome.reason or outcome.status_code >= 400
    assert len(outcome.body) < 30_000_000
    assert (await host.execute(run, path="/", execution="next")).body == b"honest"


async def test_a_second_answer_is_nobodys(host: Host) -> None:
    run = await host.function(HOSTILE)

    first = await host.execute(run, path="/twice", execution="one")
    following = [await host.execute(run, path="/", execution=f"after-{n}") for n in range(3)]

    assert first.body == b"first"
    assert [outcome.body for outcome in following] == [b"honest"] * 3


async def test_a_flood_of_logs_leaves_the_executor_and_others_alone(host: Host, folder: Path) -> None:
    flood = "def main(context):\n    for _ in range(400):\n        context.log('x' * 100_000)\n"
    flood += "        print('y' * 100_000)\n    return context.res.text('done')\n"
    run = await host.function(flood)
    other = await host.function("def main(context):\n    return context.res.text('served')\n")

    flooding = asyncio.create_task(host.execute(run, execution="flood", run_seconds=100.0))
    while not flooding.done():
        assert (await host.execute(other)).body == b"served"
    outcome = await flooding

    assert outcome.body == b"done" or outcome.reason
    assert len(outcome.logs) < 6_000_000, "more than the bound of a log file"
    assert sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) < 200_000_000

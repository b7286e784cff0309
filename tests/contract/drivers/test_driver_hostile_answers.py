"""Code that writes to its server's connections itself: invalid bytes fail only its own call."""

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
async def test_invalid_response_fails_only_its_own_call(host: Host, how: str) -> None:
    run = await host.function(HOSTILE)

    outcome = await host.execute(run, path=f"/{how}", execution="hostile")

    assert outcome.reason or outcome.status_code >= 400
    assert len(outcome.body) < 30_000_000
    assert (await host.execute(run, path="/", execution="next")).body == b"honest"


async def test_second_response_to_one_request_reaches_no_caller(host: Host) -> None:
    run = await host.function(HOSTILE)

    first = await host.execute(run, path="/twice", execution="one")
    following = [await host.execute(run, path="/", execution=f"after-{n}") for n in range(3)]

    assert first.body == b"first"
    assert [outcome.body for outcome in following] == [b"honest"] * 3


async def test_flood_of_logs_leaves_the_executor_and_others_alone(host: Host, folder: Path) -> None:
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


LOGGING = """
import os, socket, time

def channel():
    # the connection on which the server writes its log frames
    for fd in [int(name) for name in os.listdir("/proc/self/fd")]:
        try:
            peer = socket.socket(fileno=os.dup(fd))
            at = peer.getpeername()
        except OSError:
            continue
        if isinstance(at, str) and at.endswith("logs.sock"):
            peer.settimeout(None)
            return peer

def frame(log_id, text):
    return (2 + len(log_id) + len(text)).to_bytes(4, "big") + bytes((0, len(log_id))) + log_id + text

def main(context):
    own = context.log.__self__.id.encode()
    how, times = context.req.path, int(context.req.body_text or 0)
    if how == "/empty":
        channel().sendall(frame(own, b"") * times)
    elif how == "/two-bytes":
        channel().sendall(frame(own, b"xy") * times)
    elif how == "/flood":
        peer, data, until = channel(), frame(b"", b"xy") * 10_000, time.monotonic() + times
        while time.monotonic() < until:
            peer.sendall(data)
    elif how == "/drip":
        peer = channel()
        for _ in range(times):
            peer.send(frame(own, b"xy"))
    elif how == "/again":
        peer = socket.socket(socket.AF_UNIX)
        try:
            peer.connect("/run/annals/logs.sock")
        except OSError as refused:
            return context.res.text(type(refused).__name__)
    return context.res.text("honest")
"""


async def test_empty_log_frames_end_the_instance_with_a_reason(host: Host) -> None:
    run = await host.function(LOGGING)

    outcome = await host.execute(run, path="/empty", body=b"1000000", execution="hostile")

    assert outcome.reason == "crashed"
    assert outcome.message == "The instance was ended: it wrote an empty log frame, which no function server does."
    assert (await host.execute(run, path="/", execution="next")).body == b"honest"


async def test_log_socket_takes_no_second_connection(host: Host) -> None:
    run = await host.function(LOGGING)

    assert (await host.execute(run, path="/again")).body == b"ConnectionRefusedError"


async def test_log_frames_beyond_the_rate_wait_and_are_all_kept(host: Host) -> None:
    run = await host.function(LOGGING)

    for how in ("/two-bytes", "/drip"):
        outcome = await host.execute(run, path=how, body=b"60000", execution=how, run_seconds=100.0)

        assert outcome.body == b"honest"
        assert outcome.logs.count("xy") == 60_000


async def test_floods_of_small_log_frames_leave_others_served(host: Host) -> None:
    hostile = [await host.function(LOGGING) for _ in range(4)]
    other = await host.function("def main(context):\n    return context.res.text('served')\n")
    await host.execute(other)

    floods = [
        asyncio.create_task(host.execute(run, path="/flood", body=b"6", execution=f"flood-{n}", run_seconds=100.0))
        for n, run in enumerate(hostile)
    ]
    served = 0
    while not any(flood.done() for flood in floods):
        assert (await host.execute(other)).body == b"served"
        served += 1

    assert [(await flood).body for flood in floods] == [b"honest"] * 4
    assert served > 30, "neighbours waited for the flood's end"

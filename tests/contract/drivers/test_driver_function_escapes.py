"""Attempts of functions to escape from their sandbox: in new instances, and in instances of the idle pool."""

import json
import os
import platform
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from annals.domain.ports import Run
from annals.executor.drivers.port import IDLE_LIMITS
from annals.executor.isolation.network import unusable
from tests.contract.drivers import cloud
from tests.contract.drivers import escape_attempts as escapes
from tests.contract.drivers.hosts import NODE, PYTHON, Host, processes_with

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(platform.machine() != "x86_64", reason="system calls are named by their numbers on x86_64"),
]

JSON = [("content-type", "application/json")]
BORN = "GREETING=hello"
IN_PYTHON = f"""
def main(context):
    born = {BORN!r} in open("/proc/self/environ").read()
    return context.res.json({{"born": born, "told": tell()}})
"""
IN_NODE = """
const fs = require("fs")
const { execFileSync } = require("child_process")
const told = {}
const tried = (name, attempt) => {
  try { told[name] = attempt() > 0 ? "DONE" : "NOTHING" } catch (refused) { told[name] = refused.code ?? "ERROR" }
}
module.exports = ({ req, res }) => {
  const { writes, reads } = req.bodyJson
  const flags = fs.constants.O_WRONLY | fs.constants.O_CREAT
  for (const [path, text] of Object.entries(writes))
    tried(`write ${path}`, () => fs.writeSync(fs.openSync(path, flags), text))
  for (const path of reads)
    tried(`read ${path}`, () => fs.readSync(fs.openSync(path), Buffer.alloc(64)))
  for (const line of String(execFileSync("/usr/bin/python3", [__dirname + "/tries.py"])).trim().split("\\n")) {
    const [, how, ...name] = line.split(" ")
    told[name.join(" ")] = how
  }
  const born = fs.readFileSync("/proc/self/environ", "utf8").includes("GREETING=hello")
  return res.json({ born, told })
}
"""
NEIGHBOUR = """
import subprocess
libc.shmat.restype = ctypes.c_void_p
PLACES = ("/tmp", "/dev/shm", "/run", "/mnt", "/var", "/usr/local", "/etc", "/home", "/root")
def keep(name):
    for folder in ("/tmp", "/dev/shm"):
        with open(f"{folder}/kept", "w") as file:
            file.write(name)
    segment = libc.shmget(0x51A8, 4096, 0o1666)
    ctypes.memmove(libc.shmat(segment, None, 0), name.encode(), len(name))
    words = ["python3", "-c", "import time; time.sleep(600)", name]
    keep.child = subprocess.Popen(words, env={**os.environ, "KEPT": name})
def holds(path, name):
    try:
        return name in open(path, "rb").read(1 << 20)
    except OSError:
        return False
def found(name):
    for place in PLACES:
        for folder, _, files in os.walk(place):
            paths = [os.path.join(folder, file) for file in files]
            yield from (path for path in paths if os.path.isfile(path) and holds(path, name))
    for process in filter(str.isdigit, os.listdir("/proc")):
        yield from (part for part in ("cmdline", "environ") if holds(f"/proc/{process}/{part}", name))
    if libc.shmget(0x51A8, 4096, 0) >= 0:
        yield "segment"
def main(context):
    asked = context.req.body_json
    if context.req.path == "/keep":
        keep(bytes.fromhex(asked["name"]).decode())
    if context.req.path == "/kill":
        os.kill(-1, signal.SIGKILL)
    ATTEMPTS.update((name, eval("lambda: " + code)) for name, code in asked["attempts"].items())
    return context.res.json({
        "found": sorted(set(found(bytes.fromhex(asked["name"])))),
        "told": tell(),
        "alive": hasattr(keep, "child") and keep.child.poll() is None,
    })
"""
CALLER = """
import socket
def main(context):
    reached = []
    for address in context.req.body_json:
        try:
            with socket.create_connection((address, 80), 30) as peer:
                reached.append(address if peer.recv(99) else "")
        except OSError:
            continue
    return context.res.json(reached)
"""


@pytest.fixture(params=["afresh", "reserve"])
def start(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def host(folder: Path, driver: str, start: str) -> AsyncIterator[Host]:
    made = Host(folder, driver)
    await made.open(idle_pool={"*": 2} if start == "reserve" else {})
    yield made
    await made.close()


async def made(host: Host, source: str, runtime: str = PYTHON, **files: str) -> Run:
    """A function whose first call finds an instance as the host starts them."""
    run = await host.function(source, runtime, **files)
    if host.config.idle_pool:
        await host.reserved(runtime)
    return msgspec.structs.replace(run, limits=IDLE_LIMITS)


async def said(host: Host, run: Run, path: str, body: object) -> Any:
    outcome = await host.execute(run, path=path, body=json.dumps(body).encode(), headers=JSON)
    assert (outcome.reason, outcome.status_code) == ("", 200), outcome
    return json.loads(outcome.body)


@pytest.mark.parametrize("runtime", [PYTHON, NODE], ids=["python", "node"])
async def test_functions_cannot_escape_their_sandbox(host: Host, driver: str, start: str, runtime: str) -> None:
    attempts = escapes.calls(driver) | escapes.files()
    if runtime == PYTHON:
        run = await made(host, escapes.program(attempts, IN_PYTHON), PYTHON)
    else:
        run = await made(
            host,
            IN_NODE,
            NODE,
            **{"tries.py": escapes.program(escapes.calls(driver), escapes.SAY)},
        )
    answer = await said(host, run, "/", {"writes": escapes.WRITES, "reads": escapes.READS})

    assert answer["born"] == (start == "afresh")
    assert set(answer["told"]) == set(attempts)
    assert escapes.beyond(answer["told"]) == {}


async def test_functions_find_nothing_of_other_functions_in_any_project(host: Host) -> None:
    name = "kept-by-another-function"
    keeper = await made(host, escapes.program({}, NEIGHBOUR))
    asked = {"name": name.encode().hex(), "attempts": {}}
    own = await said(host, keeper, "/keep", asked)
    attempts = {attempt: code for process in processes_with(name) for attempt, code in escapes.towards(process).items()}
    for project in ("p", "q"):
        neighbour = msgspec.structs.replace(keeper, project=project, function="g", deployment=f"of {project}")
        if host.config.idle_pool:
            await host.reserved(PYTHON)
        answer = await said(host, neighbour, "/look", asked | {"attempts": attempts})
        await host.execute(neighbour, path="/kill", body=json.dumps(asked).encode(), headers=JSON)

        assert answer["found"] == []
        assert set(answer["told"]) == set(attempts)
        assert escapes.beyond(answer["told"]) == {}

    assert attempts
    assert own["found"] == ["/dev/shm/kept", "/tmp/kept", "cmdline", "environ", "segment"]
    assert own | {"told": {}} == await said(host, keeper, "/look", asked)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can lay a way to another machine")
@pytest.mark.usefixtures("beyond")
async def test_functions_reach_hosts_beyond_this_one_and_no_metadata(host: Host, driver: str) -> None:
    if driver == "sandbox":
        if problem := unusable():
            pytest.skip(problem)
        await host.close()
        await host.open(network="isolated")

    assert await said(host, await made(host, CALLER), "/", [cloud.OPEN, *cloud.METADATA]) == [cloud.OPEN]

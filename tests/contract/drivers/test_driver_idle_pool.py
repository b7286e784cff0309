"""An instance of the idle pool is as isolated as one that was started for its function."""

import asyncio
import json
from pathlib import Path

import pytest

from annals.domain.ports import Limits, Run
from annals.executor.drivers.port import IDLE_LIMITS
from tests.contract.drivers.hosts import NODE, PYTHON, Host

pytestmark = pytest.mark.timeout(300)

LOOK = """
import json, os, resource
def main(context):
    def refused(path):
        try:
            open(path, "w").close()
        except OSError as error:
            return error.strerror
        return ""
    here = os.path.dirname(__file__)
    return context.res.json({
        "here": here,
        "files": sorted(os.listdir(here)),
        "refused": [refused(here + "/main.py"), refused(here + "/new")],
        "born_with": open("/proc/self/environ").read().split("\\0"),
        "environment": dict(os.environ),
        "mounts": [line.split()[1:4] for line in open("/proc/self/mounts")],
    })
"""
GREEDY = """
def main(context):
    kept = []
    for _ in range(400):
        kept.append(bytearray(b"x" * 1024 * 1024))
    return context.res.text("had it")
"""


async def first_call_of(host: Host, source: str, runtime: str, **changes: object) -> tuple[Run, dict[str, object]]:
    run = await host.function(source, runtime)
    await host.reserved(runtime)
    outcome = await host.execute(run, **{"limits": IDLE_LIMITS, **changes})
    assert outcome.reason == "", outcome
    return run, {"outcome": outcome, "said": json.loads(outcome.body)}


async def test_specialised_code_is_read_only_and_its_variables_are_absent_before(host: Host) -> None:
    _, found = await first_call_of(host, LOOK, PYTHON)
    said = found["said"]
    assert isinstance(said, dict)

    assert said["here"] == "/usr/local/server/src/function"
    assert "main.py" in said["files"]
    assert all(said["refused"])
    assert said["environment"]["GREETING"] == "hello"
    assert not [text for text in said["born_with"] if "hello" in text or "SECRET" in text]
    assert not [name for name in said["environment"] if name.startswith("ANNALS_")]
    [shown] = [mount for mount in said["mounts"] if mount[0] == said["here"]]
    assert "ro" in shown[2].split(",")


async def test_two_functions_get_two_instances_with_their_own_code_each(host: Host) -> None:
    sources = [f"def main(context):\n    return context.res.json('{name}')" for name in ("one", "two")]
    runs = [await host.function(source, PYTHON) for source in sources]
    await host.reserved(PYTHON)
    outcomes = [await host.execute(run, limits=IDLE_LIMITS) for run in runs]

    assert [json.loads(outcome.body) for outcome in outcomes] == ["one", "two"]
    assert outcomes[0].instance != outcomes[1].instance


async def test_specialised_instance_gets_the_functions_memory_limit(host: Host) -> None:
    run = await host.function(GREEDY, PYTHON)
    await host.reserved(PYTHON)
    outcome = await host.execute(run, limits=Limits(cpus=1, memory_mb=128))

    assert outcome.reason == "out_of_memory"


async def test_mounted_code_is_invisible_on_the_host_and_leaves_nothing(host: Host) -> None:
    run, _ = await first_call_of(host, LOOK, PYTHON)

    assert str(host.folder) not in Path("/proc/self/mountinfo").read_text()
    await host.client.retire(run.project, run.deployment)
    async with asyncio.timeout(60):
        while (host.config.work / "code" / run.artefact.digest).exists():
            await asyncio.sleep(0.05)


async def test_idle_node_servers_are_specialised_too(host: Host) -> None:
    source = "module.exports = ({ res }) => res.json({ greeting: process.env.GREETING, at: __dirname })"
    _, found = await first_call_of(host, source, NODE)

    assert found["said"] == {"greeting": "hello", "at": "/usr/local/server/src/function"}

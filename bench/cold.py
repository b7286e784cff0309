"""First calls of functions without a running instance, with and without the idle pool."""

import asyncio
import statistics
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

from annals.executor.config import ExecutorConfig
from annals.executor.drivers.engine import connect, engine_problem, own_images
from annals.executor.wire.client import ExecutorClient
from annals.executor.wire.protocol import Status
from bench.archives import RUNTIMES, SOURCES, archive
from bench.instance import Instance, running
from bench.memory import pss_mib, tree
from bench.results import Figure

if TYPE_CHECKING:
    from docker import DockerClient

FIRST_CALLS = 15
DOCKER_CALLS = 7
PAUSE_SECONDS = 1.0
"""The pause between two first calls, so that each of them finds an idle machine and an idle instance."""


def figures(instance: Instance) -> list[Figure]:
    """Measure the sandbox driver on the instance of the other figures, and docker if an engine answers."""
    made = []
    for language in RUNTIMES:
        times = first_calls(instance, language, FIRST_CALLS)
        cuts = statistics.quantiles(times, n=20, method="inclusive")
        name = f"cold first call, sandbox, {language}"
        made += [
            Figure(name=f"{name}, p50", value=cuts[9], unit="ms", target=25),
            Figure(name=f"{name}, p95", value=cuts[18], unit="ms", target=60),
        ]
    return made + waiting_memory(instance) + docker()


def first_calls(
    instance: Instance, language: str, count: int, *, runtime: str = "", pooled: bool = True
) -> list[float]:
    """Return the milliseconds of calls that are each the first of a deployment; `pooled` waits for the idle pool."""
    usual, entrypoint, _ = RUNTIMES[language]
    function = f"cold-{language}"
    instance.function(function, runtime or usual, entrypoint)
    times = []
    for number in range(count + 1):
        instance.deploy(function, archive(entrypoint, SOURCES[language].format(number)))
        time.sleep(PAUSE_SECONDS)
        if pooled:
            asyncio.run(_wait_for_idle_server(instance))
        started = time.perf_counter()
        answer = instance.call("POST", f"/functions/{function}/executions", json={})
        times.append((time.perf_counter() - started) * 1e3)
        assert answer["responseBody"] == f"hello {number}", answer
    return times[1:]  # the very first call also prepares the runtime


async def _wait_for_idle_server(instance: Instance) -> None:
    """Wait until the idle pool has a function server, for at most 20 s."""
    client = ExecutorClient([f"unix:{instance.data}/executor.sock"])
    async with asyncio.timeout(20):
        while True:
            [status] = (await client.status()).values()
            if isinstance(status, Status) and status.work["idle"]:
                break
            await asyncio.sleep(0.05)
    await client.close()


def waiting_memory(instance: Instance) -> list[Figure]:
    """Return the memory of one idle function server, by its language."""
    made = []
    for language, script, target in (("node", "src/server.cjs", 45), ("python", "server.py", 20)):
        found = [pss_mib(pid) for pid in tree(instance.process.pid) if _runs(pid, script)]
        if found:
            name = f"memory of a warm idle instance, {language}"
            made.append(Figure(name=name, value=statistics.median(found), unit="MiB", target=target))
    return made


def _runs(pid: int, script: str) -> bool:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    except OSError:
        return False
    return len(words) > 1 and words[1] == script


def docker() -> list[Figure]:
    """Measure with and without the pool, if an engine has Annals' images.

    The floor of calls without the pool is the start of a container with the same limits and a trivial program.
    """
    if engine_problem(ExecutorConfig(data=Path(), work=Path(), blobs_url="", listen="")):
        return []
    client = connect()
    images = sorted(own_images(client))
    bridge = f"annals-bench-{uuid.uuid4().hex[:8]}"
    network = client.networks.create(bridge, driver="bridge")
    made = []
    for language in RUNTIMES:
        runtime = next((id_ for id_ in reversed(images) if id_.startswith(f"{language}-")), "")
        if runtime:
            floor = statistics.median(_engine_start_ms(client, runtime, bridge) for _ in range(DOCKER_CALLS))
            name = f"cold first call, docker, {language}, p50"
            with_pool, without = (_docker_p50(language, runtime, pooled=pooled) for pooled in (True, False))
            made += [
                Figure(name=f"{name}, pooled", value=with_pool, unit="ms", target=60),
                Figure(name=f"{name}, not pooled", value=without, unit="ms", floor=floor, target=floor + 60),
            ]
    network.remove()
    client.close()
    return made


def _engine_start_ms(client: "DockerClient", runtime: str, network: str) -> float:
    """Return the milliseconds from the request for a container, limited as a function's, to its first output."""
    bounded: dict[str, Any] = {
        "network": network,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "read_only": True,
        "tmpfs": {"/tmp": "rw,nosuid,nodev,size=64m"},
        "mem_limit": "512m",
        "nano_cpus": 1_000_000_000,
        "pids_limit": 256,
        "ipc_mode": "private",
    }
    started = time.perf_counter()
    container = client.containers.create(f"annals/{runtime.replace('-', ':')}", ["echo", "here"], **bounded)
    try:
        output = container.attach(stdout=True, stream=True, logs=True)
        container.start()
        next(iter(output))
        return (time.perf_counter() - started) * 1e3
    finally:
        container.remove(force=True)


def _docker_p50(language: str, runtime: str, *, pooled: bool) -> float:
    with running("docker", settings={} if pooled else {"ANNALS_RESERVE": "*=0"}) as instance:
        return statistics.median(first_calls(instance, language, DOCKER_CALLS, runtime=runtime, pooled=pooled))

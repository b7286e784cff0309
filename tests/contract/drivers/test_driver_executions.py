"""Executions on both drivers: responses, logs, and a typed reason for every other way to end."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import msgspec
import pytest

from annals.domain.ports import Limits
from tests.contract.drivers.hosts import NODE, PYTHON, RUNTIMES, Host, processes_with

pytestmark = pytest.mark.timeout(300)

PY_HELLO = """
import os
def main(context):
    context.log("logged", {"a": 1})
    context.error("complained")
    print("printed")
    req = context.req
    return context.res.json({"path": req.path, "body": req.body_text, "greeting": os.environ["GREETING"]})
"""
JS_HELLO = """
module.exports = async ({req, res, log, error}) => {
  log("logged", {a: 1}); error("complained"); console.log("printed");
  return res.json({path: req.path, body: req.bodyText, greeting: process.env.GREETING});
};
"""
ACTIONS = """
import os, sys, time, asyncio
async def main(context):
    action = context.req.path[1:]
    context.log("began", action)
    if action == "sleep": time.sleep(600)
    if action == "nap": await asyncio.sleep(600)
    if action == "hog": held = [bytearray(50_000_000) for _ in range(40)]
    if action == "exit": os._exit(3)
    if action == "throw": raise ValueError("thrown")
    if action == "large": return context.res.binary(b"x" * 22_000_000)
    if action == "headers": return context.res.text("x", 200, {f"h{n}": "x" for n in range(400)})
    if action == "log":
        for _ in range(int(context.req.body_text)): context.log("y" * 1023)
    if action == "status": return context.res.text("gone", 404)
    return context.res.text("done")
"""


@pytest.mark.runtime(50, 58)
@pytest.mark.parametrize(("runtime", "source"), [(PYTHON, PY_HELLO), (NODE, JS_HELLO)], ids=["python", "node"])
async def test_hello_function_returns_its_response_logs_and_times(host: Host, runtime: str, source: str) -> None:
    run = await host.function(source, runtime)
    cold = await host.execute(run, method="POST", path="a/b?c=d", body="é".encode())
    warm = await host.execute(run, execution="e2")

    assert (cold.status_code, cold.reason, cold.cold) == (200, "", True)
    assert msgspec.json.decode(cold.body) == {"path": "/a/b", "body": "é", "greeting": "hello"}
    assert 'logged {"a":1}' in cold.logs
    assert "printed" in cold.logs
    assert "complained" in cold.errors
    assert ("content-type", "application/json; charset=utf-8") in cold.headers
    assert not [name for name, _ in cold.headers if name.startswith("x-open-runtimes-")]
    assert (warm.cold, warm.instance) == (False, cold.instance)
    assert cold.start_seconds > 0
    assert warm.start_seconds == 0


async def test_changed_environment_is_seen_by_the_next_execution(host: Host) -> None:
    run = await host.function(PY_HELLO)
    first = await host.execute(run)
    second = await host.execute(run, environment={"GREETING": "changed"}, environment_digest="v2")

    assert b'"greeting":"hello"' in first.body
    assert b'"greeting":"changed"' in second.body
    assert first.instance != second.instance


async def test_logging_off_means_no_logs(host: Host) -> None:
    outcome = await host.execute(await host.function(PY_HELLO), logging=False)

    assert (outcome.status_code, outcome.logs, outcome.errors) == (200, "", "")


@pytest.mark.parametrize(
    ("action", "reason", "status"),
    [
        ("exit", "crashed", 500),
        ("throw", "error", 500),
        ("large", "response_too_large", 500),
        ("headers", "response_too_large", 500),
        ("status", "", 404),
    ],
)
async def test_each_way_to_end_has_its_own_reason(host: Host, action: str, reason: str, status: int) -> None:
    run = await host.function(ACTIONS)
    outcome = await host.execute(run, path=f"/{action}")

    assert (outcome.reason, outcome.status_code) == (reason, status)
    assert f"began {action}" in outcome.logs
    assert (await host.execute(run, execution="after")).reason == ""


async def test_memory_beyond_the_limit_is_reported_as_out_of_memory(host: Host) -> None:
    run = await host.function(ACTIONS)
    outcome = await host.execute(run, path="/hog", limits=Limits(cpus=1, memory_mb=256))

    assert outcome.reason == "out_of_memory"
    assert "256 MB" in outcome.message
    assert "began hog" in outcome.logs


async def test_code_that_blocks_is_killed_at_its_deadline(host: Host) -> None:
    run = await host.function(ACTIONS)
    await host.execute(run, execution="warm")
    outcome = await host.execute(run, path="/sleep", run_seconds=1.0)

    assert (outcome.reason, outcome.message) == (
        "timeout",
        "Execution timed out. It had no end within its timeout of 1 s.",
    )
    assert "began sleep" in outcome.logs


@pytest.mark.runtime(55)
async def test_code_that_waits_is_stopped_softly_at_its_deadline(host: Host) -> None:
    await host.close()
    await host.open(grace_seconds=60.0)  # so it is its server that ends it, however slow the machine is
    run = await host.function(ACTIONS)
    outcome = await host.execute(run, path="/nap", run_seconds=1.0)

    assert (outcome.reason, outcome.status_code) == ("timeout", 500)
    assert outcome.errors == "Execution timed out. It had no end within its timeout of 1 s.\n" == f"{outcome.message}\n"


async def test_cancelling_an_execution_ends_it(host: Host) -> None:
    run = await host.function(ACTIONS)
    await host.execute(run, execution="warm")
    task = asyncio.create_task(host.execute(run, path="/sleep", execution="victim", run_seconds=600.0))
    async with asyncio.timeout(60):
        while not await host.client.cancel_execution("p", "victim"):
            await asyncio.sleep(0.05)

    assert (await task).reason == "canceled"


@pytest.mark.runtime(54)
async def test_long_logs_come_whole_and_endless_ones_cut(host: Host) -> None:
    run = await host.function(ACTIONS)
    whole = await host.execute(run, path="/log", body=b"1024")
    cut = await host.execute(run, path="/log", body=b"9000", execution="e2")

    assert whole.logs.count("\n") == 1025
    assert 5 * 1024 * 1024 <= len(cut.logs) < 6 * 1024 * 1024
    assert cut.logs.endswith("truncated to 5.00MB.")


@pytest.mark.runtime(56)
async def test_slow_top_level_code_counts_as_run_time_and_succeeds(host: Host) -> None:
    run = await host.function("import time\ntime.sleep(2)\n" + ACTIONS.lstrip())
    outcome = await host.execute(run)

    assert outcome.reason == ""
    assert outcome.run_seconds > 2


async def test_burst_on_a_cold_function_fails_no_call(host: Host) -> None:
    run = await host.function(ACTIONS)
    outcomes = await asyncio.gather(*(host.execute(run, execution=f"b{n}") for n in range(50)))

    assert {outcome.reason for outcome in outcomes} == {""}
    assert len({outcome.instance for outcome in outcomes}) <= 4


async def test_unserved_runtime_error_lists_the_served_ones(host: Host) -> None:
    outcome = await host.execute(await host.function(PY_HELLO), runtime="cobol-68", environment_digest="other")

    assert outcome.reason == "runtime_unavailable"
    assert PYTHON in outcome.message


async def test_artefact_that_is_gone_or_altered_is_never_run(host: Host) -> None:
    run = await host.function(PY_HELLO)
    artefact = msgspec.structs.replace(run.artefact, digest="0" * 64)
    altered = await host.execute(run, artefact=artefact, deployment="other")
    missing = await host.execute(
        run, artefact=msgspec.structs.replace(artefact, key="none", digest="1" * 64), deployment="more"
    )

    assert {altered.reason, missing.reason} == {"deployment_missing"}


async def test_functions_see_no_files_or_processes_of_each_other(host: Host) -> None:
    spy = """
import os, subprocess
def main(context):
    look = "ls -R /run /mnt /usr/local/server/src /tmp; ps ax; cat /proc/*/cmdline"
    return context.res.binary(subprocess.run(look, shell=True, stdout=subprocess.PIPE).stdout)
"""
    secret = await host.function("# distinctive-content\n" + PY_HELLO.lstrip(), **{"distinctive-file.txt": "x"})
    await host.execute(secret)
    outcome = await host.execute(await host.function(spy))

    assert outcome.status_code == 200
    assert b"distinctive" not in outcome.body
    assert b"executor" not in outcome.body


async def test_code_cannot_change_its_own_deployment(host: Host) -> None:
    tamper = """
def main(context):
    tried = {}
    server = "/usr/local/server/src"
    for path in (f"{server}/function/main.py", f"{server}/server.py", "/usr/evil", "/etc/passwd"):
        try:
            open(path, "a").close()
            tried[path] = "written"
        except OSError as refused:
            tried[path] = type(refused).__name__
    return context.res.json(tried)
"""
    outcome = await host.execute(await host.function(tamper))

    assert b"written" not in outcome.body


async def test_code_has_no_folder_on_the_hosts_disk_to_fill(host: Host) -> None:
    fill = """
import os
def main(context):
    for folder, _, _ in os.walk("/"):
        if folder.startswith(("/proc", "/sys", "/tmp", "/dev")):
            continue
        try:
            with open(f"{folder}/fill", "w") as file:
                context.log("WROTE", folder)
        except OSError:
            continue
    return context.res.text("tried")
"""
    outcome = await host.execute(await host.function(fill), run_seconds=60.0)

    assert outcome.body == b"tried"
    assert "WROTE" not in outcome.logs


EXECUTOR = """
import asyncio, sys
from pathlib import Path
from annals.executor.config import ExecutorConfig
from annals.executor.service.main import serve
folder = Path(sys.argv[1])
asyncio.run(serve(ExecutorConfig(data=Path(sys.argv[2]), work=folder / "work", blobs_url=str(folder / "blobs"),
    listen=f"unix:{folder}/run/other.sock", driver=sys.argv[3])))
"""


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
async def test_no_sandbox_outlives_its_executor(host: Host, how: signal.Signals) -> None:
    from annals.executor.wire.client import ExecutorClient

    marker = f"8639{int(how)}.5"
    leaver = "import subprocess\nsubprocess.Popen(['sleep', '{}'])\ndef main(context): return context.res.text('x')\n"
    run = await host.function(leaver.format(marker))
    other = await asyncio.create_subprocess_exec(
        sys.executable, "-c", EXECUTOR, str(host.folder / "o"), str(RUNTIMES), host.config.driver, env=os.environ
    )
    try:
        (host.folder / "o").mkdir()
        (host.folder / "o" / "blobs").symlink_to(host.folder / "blobs")
        client = ExecutorClient([f"unix:{host.folder}/o/run/other.sock"])
        async with asyncio.timeout(60):
            while not Path(host.folder, "o/run/other.sock").exists():
                await asyncio.sleep(0.05)
        assert (await client.execute(run)).reason == ""
        assert processes_with(marker) != []
        other.send_signal(how)
        async with asyncio.timeout(60):
            await other.wait()
        if host.config.driver == "docker" and how == signal.SIGKILL:  # containers end with the next executor's start
            host.config = msgspec.structs.replace(host.config, work=host.folder / "o" / "work")
            await host.close()
            await host.open()
        async with asyncio.timeout(60):
            while processes_with(marker):
                await asyncio.sleep(0.05)
    finally:
        if other.returncode is None:
            other.kill()
        await client.close()

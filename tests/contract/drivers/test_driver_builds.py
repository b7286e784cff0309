"""Builds on both drivers: a source becomes an artefact or fails with a reason, with live output and a complete end."""

import asyncio
import gzip
import re
from collections.abc import Callable

import pytest

from tests.contract.drivers.hosts import NODE, PYTHON, Host, processes_with
from tests.unit.executor.archives import END, entry, gzipped, tar_of, zipped

pytestmark = pytest.mark.timeout(300)

MAIN = b"def main(context):\n    return context.res.text('hi')\n"


def last_line(host: Host) -> str:
    return host.log.rstrip("\n").rpartition("\n")[2]


@pytest.mark.parametrize("pack", [tar_of, gzipped, zipped], ids=["tar", "tar.gz", "zip"])
async def test_source_of_each_format_is_built(host: Host, pack: Callable[[dict[str, bytes]], bytes]) -> None:
    source = pack({"main.py": MAIN, "lib/deep/data.txt": b"packed"})
    outcome = await host.build(source, entrypoint="main.py", commands="cat lib/deep/data.txt")

    assert outcome.reason == "", host.log
    assert "packed" in host.log


async def test_hello_function_is_built_and_its_artefact_kept(host: Host) -> None:
    outcome = await host.build(gzipped({"main.py": MAIN}), entrypoint="main.py")

    assert (outcome.reason, outcome.exit_code) == ("", 0)
    assert outcome.artefact is not None
    stored = await host.blobs.head(outcome.artefact.key)
    assert stored.size == outcome.artefact.size > 0
    assert outcome.seconds > 0
    assert "Build finished." in host.log


@pytest.mark.runtime(40)
@pytest.mark.parametrize(("commands", "code"), [("echo bad; exit 7", 7), ("exit 1", 1), ("cd /nonexistent", 1)])
async def test_failing_command_ends_the_build_with_its_code(host: Host, commands: str, code: int) -> None:
    outcome = await host.build(gzipped({"main.py": MAIN}), commands=commands)

    assert (outcome.reason, outcome.exit_code, outcome.artefact) == ("command_failed", code, None)
    assert f"Build command exited with code {code}." in last_line(host)
    assert host.log.count("exited with code") == 1


@pytest.mark.runtime(41)
@pytest.mark.parametrize(
    ("files", "changes", "reason", "sentence"),
    [
        ({"folder/": b""}, {}, "empty_source", "Error: No source code found."),
        ({"main.py": MAIN}, {"output_directory": "dist"}, "empty_output", "Error: No build output found."),
        ({"main.py": MAIN}, {"output_directory": "../.."}, "empty_output", "Error: No build output found."),
        ({"main.py": MAIN}, {"entrypoint": "other.py"}, "entrypoint_missing", "other.py is not in the build output."),
        (
            {"main.py": MAIN},
            {"entrypoint": "../main.py"},
            "entrypoint_missing",
            "../main.py is not in the build output.",
        ),
        ({"main.py": MAIN}, {"runtime": "cobol-68"}, "runtime_unavailable", "python-"),
    ],
)
async def test_build_with_a_missing_input_fails_with_a_reason(host: Host, files, changes, reason, sentence) -> None:  # type: ignore[no-untyped-def]
    outcome = await host.build(gzipped(files), **changes)

    assert outcome.reason == reason
    assert sentence in last_line(host)
    assert outcome.artefact is None


@pytest.mark.parametrize(
    ("archive", "words"),
    [
        (b"#!/bin/sh\n" * 200, "not a tar"),
        (gzipped({"main.py": MAIN * 300})[:60], "cut off"),
        (entry(b"../../evil", b"x") + END, "climbs out"),
        (entry(b"/etc/evil", b"x") + END, "absolute"),
        (entry(b"link", kind=b"2", link=b"/etc") + END, "link"),
        (gzip.compress(entry(b"a", bytes(200_000_000)) + END), "bomb"),
    ],
    ids=["text", "truncated", "climbing", "absolute", "link", "bomb"],
)
async def test_hostile_archive_fails_the_build_with_a_sentence(host: Host, archive: bytes, words: str) -> None:
    outcome = await host.build(archive)

    assert outcome.reason == "bad_archive"
    assert words in outcome.message
    assert last_line(host) == outcome.message


async def test_build_beyond_its_time_is_killed_with_all_its_processes(host: Host) -> None:
    marker = "86399.25"
    outcome = await host.build(
        gzipped({"main.py": MAIN}), commands=f"(setsid sleep {marker} &) ; sleep {marker}", timeout_seconds=3.0
    )

    assert outcome.reason == "timeout"
    assert "within 3 seconds" in last_line(host)
    assert processes_with(marker) == []


async def test_cancelling_kills_the_process_tree_and_nothing_comes_after(host: Host) -> None:
    marker = "86398.75"
    job = await host.job(gzipped({"main.py": MAIN}), commands=f"echo begun; (setsid sleep {marker} &); sleep {marker}")
    building = asyncio.create_task(host.client.build(job, host.hear))
    async with asyncio.timeout(60):
        while "begun" not in host.log:
            await asyncio.sleep(0.02)
    async with asyncio.timeout(30):  # they would sleep for a day
        assert await host.client.cancel_build(job.project, job.deployment)
    heard = host.log

    assert processes_with(marker) == []
    assert (await building).reason == "canceled"
    assert host.log == heard


async def test_memory_beyond_the_limit_fails_the_build_with_its_own_reason(host: Host) -> None:
    from annals.domain.ports import Limits

    hog = "python3 -c 'b = bytearray(900_000_000); print(len(b))'"
    outcome = await host.build(gzipped({"main.py": MAIN}), commands=hog, limits=Limits(cpus=1, memory_mb=128))

    assert outcome.reason == "out_of_memory"
    assert "128 MB" in last_line(host)


async def test_output_beyond_its_limit_fails_the_build(host: Host) -> None:
    outcome = await host.build(
        gzipped({"main.py": MAIN}), commands="head -c 3000000 /dev/urandom > big", output_limit_bytes=1_000_000
    )

    assert outcome.reason == "output_too_large"
    assert "1,000,000 bytes" in last_line(host)


@pytest.mark.runtime(46)
@pytest.mark.parametrize("ending", ["true", "exit 3"])
async def test_long_lines_arrive_whole(host: Host, ending: str) -> None:
    lines = "for n in 1 2 3 4 5 6 7; do echo \"begin$n$(head -c 131072 /dev/zero | tr '\\0' x)end$n\"; done"
    await host.build(gzipped({"main.py": MAIN}), commands=f"{lines}; {ending}")

    assert f"begin1{'x' * 131072}end1" in host.log
    assert f"begin7{'x' * 131072}end7" in host.log


async def test_build_log_of_a_million_bytes_is_whole(host: Host) -> None:
    row = "x" * 99
    await host.build(gzipped({"main.py": MAIN}), commands=f"yes {row} | head -n 9990")

    assert host.log.count(f"{row}\n") == 9990
    assert "left out" not in host.log


async def test_endless_output_keeps_its_first_and_last_part(host: Host) -> None:
    commands = "echo the beginning; seq 1 1000000; echo the cause; exit 9"
    await host.build(gzipped({"main.py": MAIN}), commands=commands)

    assert len(host.log.encode()) <= 1_000_000
    assert "the beginning\n1\n2\n" in host.log
    assert len(re.findall(r"^… [\d,]+ bytes left out …$", host.log, re.MULTILINE)) == 1
    assert host.log.endswith("Build command exited with code 9.\x1b[0m\n")
    assert "999999\n1000000\nthe cause\n" in host.log


async def test_output_arrives_while_the_build_runs(host: Host) -> None:
    job = await host.job(gzipped({"main.py": MAIN}), commands="echo first; sleep 600; echo second")
    building = asyncio.create_task(host.client.build(job, host.hear))
    async with asyncio.timeout(60):
        while "first" not in host.log:
            await asyncio.sleep(0.02)

    assert await host.client.cancel_build(job.project, job.deployment), "it came when all was over"
    await building
    assert "second" not in host.log


@pytest.mark.runtime(42)
@pytest.mark.parametrize("compression", ["gzip", "none", "auto", "skip", "squashfs"])
async def test_each_form_of_artefact_runs(host: Host, compression: str) -> None:
    run = await host.function("def main(context):\n    return context.res.text('ran')\n")
    job = await host.job(
        tar_of({"main.py": b"def main(context):\n    return context.res.text('ran')\n"}),
        entrypoint="main.py",
        environment={"OPEN_RUNTIMES_BUILD_COMPRESSION": compression},
    )
    outcome = await host.client.build(job, host.hear)
    assert outcome.artefact is not None, host.log

    assert (await host.execute(run, artefact=outcome.artefact, deployment=job.deployment)).body == b"ran"


@pytest.mark.runtime(43)
async def test_dependencies_of_a_lock_file_are_there_at_run_time_in_python(host: Host) -> None:
    source = b"import six\ndef main(context):\n    return context.res.text(six.__version__)\n"
    job = await host.job(
        gzipped({"main.py": source, "requirements.txt": b"six==1.16.0\n"}),
        entrypoint="main.py",
        commands="pip install -r requirements.txt",
    )
    outcome = await host.client.build(job, host.hear)
    assert outcome.artefact is not None, host.log
    run = await host.function("def main(context): ...")

    assert (await host.execute(run, artefact=outcome.artefact, deployment=job.deployment)).body == b"1.16.0"


@pytest.mark.runtime(43)
async def test_dependencies_of_a_package_file_are_there_at_run_time_in_node(host: Host) -> None:
    source = b"const n = require('is-number'); module.exports = ({res}) => res.text(String(n('5')));"
    job = await host.job(
        gzipped({"index.js": source, "package.json": b'{"dependencies":{"is-number":"7.0.0"}}'}),
        entrypoint="index.js",
        commands="npm install",
        runtime=NODE,
    )
    outcome = await host.client.build(job, host.hear)
    assert outcome.artefact is not None, host.log
    run = await host.function("module.exports = () => {};", NODE)

    assert (await host.execute(run, artefact=outcome.artefact, deployment=job.deployment)).body == b"true"


async def test_unserved_runtime_is_the_first_line_of_the_build_log(host: Host) -> None:
    outcome = await host.build(gzipped({"index.php": b"<?php"}), runtime="php-8.3")

    assert (outcome.reason, outcome.artefact) == ("runtime_unavailable", None)
    assert host.log.splitlines()[0].startswith("The runtime php-8.3 ")
    assert "it serves" in host.log.splitlines()[0]


@pytest.mark.runtime(45, 48)
async def test_build_sees_its_limits_and_leaves_no_files(host: Host) -> None:
    from annals.domain.ports import Limits

    await host.build(
        gzipped({"main.py": MAIN}),
        commands="echo $OPEN_RUNTIMES_CPUS and $OPEN_RUNTIMES_MEMORY",
        limits=Limits(cpus=2.5, memory_mb=1024),
        runtime=PYTHON,
    )
    async with asyncio.timeout(60):
        while list((host.config.work / "b").iterdir()):
            await asyncio.sleep(0.02)

    assert "2.5 and 1024" in host.log


async def test_cancelling_at_any_moment_leaves_nothing_running(host: Host) -> None:
    marker = "86397.125"
    await host.build(gzipped({"main.py": MAIN}))
    for moment in (0.0, 0.005, 0.01, 0.02, 0.04, 0.08, 0.15):
        job = await host.job(gzipped({"main.py": MAIN}), commands=f"sleep {marker}")
        building = asyncio.create_task(host.client.build(job, host.hear))
        await asyncio.sleep(moment)
        building.cancel()
        await asyncio.gather(building, return_exceptions=True)
    async with asyncio.timeout(60):
        while processes_with(marker) or any((host.config.work / "b").iterdir()):
            await asyncio.sleep(0.05)

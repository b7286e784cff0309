"""Checks 40-46: the build helper, and the start of its artefacts."""

import gzip
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.contract.function_server.builder import INSTALL, LOCKED_ANSWER, LOCKS, Builder, launch
from tests.contract.function_server.conftest import Starter
from tests.contract.function_server.instance import ENTRYPOINTS

MEBIBYTE = 1024 * 1024


@pytest.mark.runtime(40)
def test_failing_command_ends_the_build_with_its_code(builder: Builder) -> None:
    result = builder.hello().build("echo out; echo err >&2; exit 7")

    assert result.status == 7
    assert "out\n" in result.output
    assert "err\n" in result.output
    assert "Build command exited with code 7." in result.output
    assert not builder.output.exists()


@pytest.mark.runtime(40)
def test_silent_failure_still_reports_its_code(builder: Builder) -> None:
    result = builder.hello().build("exit 1")

    assert result.status == 1
    assert "Build command exited with code 1." in result.output


@pytest.mark.runtime(41)
def test_empty_source_fails(builder: Builder) -> None:
    result = builder.build()

    assert result.status != 0
    assert "Error: No source code found." in result.output


@pytest.mark.runtime(41)
@pytest.mark.parametrize("folder", ["dist", "../source", "/etc"])
def test_empty_or_foreign_output_fails(builder: Builder, folder: str) -> None:
    result = builder.hello().build("mkdir dist", OPEN_RUNTIMES_OUTPUT_DIRECTORY=folder)

    assert result.status != 0
    assert "Error: No build output found." in result.output


def test_phases_are_reported_with_their_time(builder: Builder) -> None:
    result = builder.hello().build("echo building")

    lines = re.findall(r"\x1b\[90m\[\d\d:\d\d:\d\d\]\x1b\[0m \x1b\[(?:97|32)m([^\x1b]+)\x1b\[0m", result.output)
    assert lines == [
        "Environment preparation started.",
        "Environment preparation finished.",
        "Build command execution started.",
        "Build command execution finished.",
        "Build packaging started.",
        "Build packaging finished.",
        "Build finished.",
    ]


@pytest.mark.runtime(42)
@pytest.mark.parametrize(
    ("compression", "padding", "magic"),
    [
        ("", 0, b"\x1f\x8b"),
        ("gzip", 0, b"\x1f\x8b"),
        ("none", 0, b"./"),
        ("zstd", 0, b"\x28\xb5\x2f\xfd"),
        ("auto", 0, b"./"),
        ("auto", 5 * MEBIBYTE, b"\x1f\x8b"),
    ],
)
def test_every_compression_has_its_format_and_starts(
    builder: Builder, fresh: Starter, compression: str, padding: int, magic: bytes
) -> None:
    builder.hello()
    (builder.source / "padding").write_bytes(b"\0" * padding)
    if compression == "zstd" and not shutil.which("zstd"):
        magic = b"\x1f\x8b"  # said in the log, and packed all the same

    result = builder.build(OPEN_RUNTIMES_BUILD_COMPRESSION=compression)

    assert result.status == 0, result.output
    assert result.magic.startswith(magic)
    assert launch(fresh, builder).call("text").body == "Hello 👋".encode()


@pytest.mark.runtime(42)
def test_skipping_the_archive_starts_too(builder: Builder, fresh: Starter) -> None:
    result = builder.hello().build(OPEN_RUNTIMES_BUILD_COMPRESSION="skip")

    assert (result.status, result.artefact.exists()) == (0, False)
    assert (builder.output / ".extracted").exists()
    assert launch(fresh, builder).call("text").body == "Hello 👋".encode()


def test_missing_tools_fall_back_to_gzip(builder: Builder) -> None:
    result = builder.hello().build(OPEN_RUNTIMES_BUILD_COMPRESSION="squashfs")

    assert result.status == 0
    if shutil.which("mksquashfs"):
        assert (builder.output / "code.sqfs").read_bytes().startswith(b"hsqs")
    else:
        assert gzip.decompress(result.artefact.read_bytes())


def test_start_records_its_phases(builder: Builder, fresh: Starter) -> None:
    builder.hello().build()

    answer = launch(fresh, builder).call("text", path="/__opr/timings")

    timings = {key: float(value) for key, _, value in (line.partition("=") for line in answer.body.decode().split())}
    assert {"extract", "prepare", "startup"} <= timings.keys()
    assert 0 < timings["extract"] <= timings["startup"] < 10


def test_hidden_files_travel_and_the_settings_are_beside_them(builder: Builder) -> None:
    builder.hello().write({".hidden/file": "x", "it's here/a.txt": "y"})

    result = builder.build(OPEN_RUNTIMES_ENTRYPOINT="it's here/a.txt")

    assert {".hidden/file", "it's here/a.txt"} <= result.names()
    settings = result.text(".open-runtimes")
    assert "OPEN_RUNTIMES_CLEANUP=none\n" in settings
    assert "OPEN_RUNTIMES_COMPRESSION=gzip\n" in settings
    read = subprocess.run(
        ["bash", "-c", settings + 'printf %s "$OPEN_RUNTIMES_ENTRYPOINT"'], capture_output=True, check=True
    )
    assert read.stdout.decode() == "it's here/a.txt"


def test_built_entrypoint_wins_over_the_environment(builder: Builder, fresh: Starter, language: str) -> None:
    name = {"python": "it's.py", "node": "it's.js"}[language]
    builder.hello()
    (builder.source / name).write_text((builder.source / ("plain" + Path(name).suffix)).read_text())
    builder.build(OPEN_RUNTIMES_ENTRYPOINT=name)

    assert launch(fresh, builder).call("text").body == b"plain"


def test_output_folder_becomes_the_root(builder: Builder) -> None:
    result = builder.hello().build("mkdir dist && cp *.* dist", OPEN_RUNTIMES_OUTPUT_DIRECTORY="./dist/")

    assert ENTRYPOINTS[builder.language] in result.names()
    assert not any(name.startswith("dist") for name in result.names())


@pytest.mark.runtime(43, 44)
def test_locked_dependencies_are_importable_and_the_cache_is_hit(
    builder: Builder, fresh: Starter, language: str
) -> None:
    builder.write(LOCKS[language])
    builder.cache.mkdir()

    first = builder.build(INSTALL[language])
    second = builder.build(INSTALL[language])

    assert first.status == 0, first.output
    assert "Build cache miss." in first.output
    assert "Build cache hit." in second.output
    assert launch(fresh, builder).call("text").body == LOCKED_ANSWER[language]


@pytest.mark.runtime(44)
def test_no_fault_of_the_cache_fails_a_build(builder: Builder) -> None:
    assert "Build cache is not available." in builder.hello().build().output

    builder.cache.mkdir()
    (builder.cache / "large").write_bytes(b"x" * 4096)
    result = builder.build(OPEN_RUNTIMES_BUILD_CACHE_MAX_SIZE_BYTES="1000")
    assert result.status == 0
    assert "Build cache dropped" in result.output
    assert list(builder.cache.iterdir()) == []

    assert builder.build(OPEN_RUNTIMES_BUILD_CACHE_MAX_SIZE_BYTES="nonsense").status == 0


@pytest.mark.runtime(45)
def test_limits_are_in_the_environment_of_the_build(builder: Builder) -> None:
    result = builder.hello().build(
        'echo "$OPEN_RUNTIMES_CPUS $OPEN_RUNTIMES_MEMORY"; env | grep -c ANNALS_ || true',
        OPEN_RUNTIMES_CPUS="2.5",
        OPEN_RUNTIMES_MEMORY="1024",
    )

    assert "2.5 1024\n0\n" in result.output


@pytest.mark.runtime(46)
@pytest.mark.parametrize("ending", ["true", "false"])
def test_long_output_is_whole_on_success_and_failure(builder: Builder, ending: str) -> None:
    line = "for i in 1 2 3 4 5 6 7; do printf %s $i-; head -c 131072 /dev/zero | tr '\\0' x; echo; done; "

    result = builder.hello().build(line + ending)

    assert ("Build finished." in result.output) == (ending == "true")
    assert [result.output.count(f"{i}-" + "x" * 131072 + "\n") for i in range(1, 8)] == [1] * 7


def test_manifest_lists_the_built_files(builder: Builder) -> None:
    path = builder.root / "manifest.json"
    builder.hello().write({"node_modules/a/index.js": "", 'qu"ote.txt': "", "old.tar.gz": "", "z/z.txt": ""})

    builder.build(OPEN_RUNTIMES_BUILD_MANIFEST=str(path))
    manifest = json.loads(path.read_text())
    builder.build(OPEN_RUNTIMES_BUILD_MANIFEST=str(path), OPEN_RUNTIMES_BUILD_MANIFEST_MAX_FILES="2")

    assert manifest["version"] == 1
    assert {'qu"ote.txt', "z/z.txt", ENTRYPOINTS[builder.language]} <= set(manifest["files"])
    assert not any("node_modules" in name or name == "old.tar.gz" for name in manifest["files"])
    assert len(json.loads(path.read_text())["files"]) == 2


@pytest.mark.parametrize("language", ["node"], indirect=True)
def test_junk_is_pruned_from_node_modules_unless_switched_off(builder: Builder) -> None:
    package = {
        "node_modules/a/package.json": '{"main":"index.js"}',
        "node_modules/a/index.js": "",
        "node_modules/a/README.md": "",
        "node_modules/a/LICENSE.md": "",
        "node_modules/a/test/a.js": "",
        "node_modules/a/dist/doc/keep.js": "",
        "node_modules/b/package.json": '{"exports":{".":"./test/index.js"}}',
        "node_modules/b/test/index.js": "",
        "node_modules/test/package.json": "not json",
        "node_modules/test/index.js": "",
        "README.md": "the user's own",
    }
    builder.hello().write(package)

    cleaned = builder.build()
    gone = {"node_modules/a/README.md", "node_modules/a/test/a.js"}
    assert not gone & cleaned.names()
    assert package.keys() - gone <= cleaned.names()
    assert "OPEN_RUNTIMES_CLEANUP=modclean\n" in cleaned.text(".open-runtimes")

    whole = builder.build(OPEN_RUNTIMES_MODCLEAN="disabled")
    assert package.keys() <= whole.names()
    assert "OPEN_RUNTIMES_CLEANUP=none\n" in whole.text(".open-runtimes")

"""The environment that a python build installs into, and how it travels."""

import os
import subprocess
import tarfile

import pytest

from tests.contract.function_server.builder import LOCKS, Builder
from tests.contract.function_server.instance import interpreter

pytestmark = pytest.mark.parametrize("language", ["python"], indirect=True)


def test_artefact_holds_no_link_and_no_path_of_the_build(builder: Builder) -> None:
    builder.write(LOCKS["python"])
    builder.build("pip install --no-deps wheel==0.45.1 && pip install -r requirements.txt")

    with tarfile.open(builder.output / "code.tar.gz") as archive:
        assert [member.name for member in archive if not (member.isfile() or member.isdir())] == []
        assert not any("/pip/" in member.name for member in archive)
        script = archive.extractfile("./runtime-env/bin/wheel")
        assert script is not None
        assert script.readline() == b"#!/usr/local/server/src/function/runtime-env/bin/python3\n"
        for member in archive:
            content = archive.extractfile(member)
            if member.name.startswith("./runtime-env/bin/") and content is not None:
                assert str(builder.root).encode() not in content.read(), member.name


def test_moved_environment_runs_programs(builder: Builder) -> None:
    builder.write(LOCKS["python"])
    builder.build("pip install -r requirements.txt")
    moved = builder.root / "moved"
    with tarfile.open(builder.output / "code.tar.gz") as archive:
        archive.extractall(moved, filter="data")

    program = moved / "runtime-env" / "bin" / "python3"
    path = f"{program.parent}:{os.path.dirname(interpreter('python'))}:{os.environ['PATH']}"
    done = subprocess.run(
        [str(program), "-c", "import six; print(six.__version__)"],
        env={"PATH": path},
        capture_output=True,
        check=True,
    )
    assert done.stdout == b"1.16.0\n"


def test_modules_are_compiled_ahead_for_any_time_of_the_files(builder: Builder) -> None:
    builder.hello().build()

    with tarfile.open(builder.output / "code.tar.gz") as archive:
        [compiled] = [name for name in archive.getnames() if "__pycache__/main." in name]
        member = archive.extractfile(compiled)
        assert member is not None
        flags = member.read(8)[4:]
    assert flags == b"\x01\x00\x00\x00"  # PEP 552: by hash, unchecked


def test_build_without_commands_makes_no_environment(builder: Builder) -> None:
    assert not any(name.startswith("runtime-env") for name in builder.hello().build().names())


def test_environment_s_own_pip_can_be_upgraded(builder: Builder) -> None:
    result = builder.hello().build("pip install --no-deps pip==24.2 && pip --version && python -m pip --version")

    assert result.status == 0, result.output
    assert result.output.count("pip 24.2 from") == 2
    assert "runtime-env/bin/pip" in result.names()

"""The essential checks with every interpreter that the executor can use."""

import asyncio
import os
import tempfile
from pathlib import Path

import pytest

from annals.executor.toolchains import NODE_VERSIONS, Toolchain, Toolchains, find_pythons
from tests.contract.function_server.conftest import Starter
from tests.contract.function_server.instance import DEADLINE_SECONDS, LogReader

KEPT = Path(tempfile.gettempdir()) / f"annals-test-runtimes-{os.getuid()}"


def on_this_host(toolchain: Toolchain) -> str:
    """Return an interpreter's path outside of sandboxes."""
    name = Path(toolchain.binary).name
    return str(toolchain.prefix / "bin" / name) if toolchain.prefix else toolchain.binary


def check_essentials(fresh: Starter, interpreter: str, reader: LogReader) -> None:
    instance = fresh(interpreter=interpreter, logs="unix:" + reader.path)
    assert instance.call("text").body == "Hello 👋".encode()
    assert instance.call("describe", path="/a?b=c").status == 200
    answer = instance.call("native", headers={"x-open-runtimes-log-id": "native"})
    assert answer.status == 200
    assert reader.wait_until(lambda: reader.ended("native"))
    assert reader.text(0, "native").startswith("before\nNative logs detected.")
    assert instance.call("nap", path="/?name=late", headers={"x-open-runtimes-timeout": "60"}).body == b"late"
    assert instance.call("sleep", path="/?seconds=600", headers={"x-open-runtimes-timeout": "1"}).status == 500
    assert instance.call("throw").status == 500
    assert instance.call("digest", method="POST", body=b"x" * 5_000_000).status == 200
    broken = fresh(interpreter=interpreter, environment={"OPEN_RUNTIMES_ENTRYPOINT": "absent"})
    assert broken.call("text").status == 503
    broken.stop(keep=True)


@pytest.mark.parametrize("language", ["python"], indirect=True)
def test_server_meets_the_contract_with_every_installed_python(fresh: Starter, reader: LogReader) -> None:
    found = find_pythons()

    assert found
    for toolchain in found.values():
        check_essentials(fresh, on_this_host(toolchain), reader)
        broken = fresh(
            interpreter=on_this_host(toolchain), environment={"OPEN_RUNTIMES_ENTRYPOINT": "broken_syntax.py"}
        )
        assert "Syntax error in broken_syntax.py, line 2" in broken.errors_of(broken.call("text"))


@pytest.mark.parametrize("language", ["node"], indirect=True)
@pytest.mark.parametrize("version", NODE_VERSIONS)
def test_server_meets_the_contract_with_every_version_of_node(fresh: Starter, reader: LogReader, version: str) -> None:
    binary = on_this_host(asyncio.run(Toolchains(KEPT).get(f"node-{version}")))

    check_essentials(fresh, binary, reader)
    for entrypoint, expected in {
        "plain.mjs": "plain",
        "plain.js": "plain",
        "broken_syntax.js": "Syntax error in broken_syntax.js, line 2",
        "broken_syntax.mjs": "Syntax error in broken_syntax.mjs",
        "esm/index.js": "module",
        "esm/awaits.js": "awaited",
    }.items():
        instance = fresh(interpreter=binary, environment={"OPEN_RUNTIMES_ENTRYPOINT": entrypoint})
        answer = instance.call("text")
        text = answer.body.decode() if answer.status == 200 else instance.errors_of(answer)
        assert text.startswith(expected), entrypoint
    failing = fresh(interpreter=binary)
    answer = failing.call("early_rejection")
    assert (answer.status, failing.process.wait(DEADLINE_SECONDS)) == (500, 1)
    assert "early rejection" in failing.errors_of(answer)

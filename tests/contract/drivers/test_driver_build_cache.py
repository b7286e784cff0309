"""Builds reuse downloads and artefacts of earlier builds of their project."""

import pytest

from tests.contract.drivers.hosts import Host
from tests.unit.executor.archives import gzipped

pytestmark = pytest.mark.timeout(300)

MAIN = b"def main(context):\n    return context.res.text('hi')\n"
DOWNLOAD = "mkdir -p ${PIP_CACHE_DIR:=/tmp/none} && cd $PIP_CACHE_DIR && ls && echo > package-of-$NAME"


async def built(host: Host, requirements: str = "a", **changes: object) -> str:
    """Return the output of a build."""
    host.lines.clear()
    archive = gzipped({"main.py": MAIN, "requirements.txt": requirements.encode()})
    given = {"commands": DOWNLOAD, "environment": {"NAME": "one"}, **changes}
    outcome = await host.build(archive, **given)
    assert outcome.artefact is not None, host.log
    return host.log


@pytest.mark.runtime(44)
async def test_second_build_of_the_same_packages_hits(host: Host) -> None:
    assert "Build cache miss." in await built(host)
    again = await built(host)

    assert "Build cache hit." in again
    assert "package-of-one" in again
    assert "Build cache miss." in await built(host, requirements="b")
    assert "Build cache miss." in await built(host, project="other")


async def test_build_with_the_cache_disabled_has_no_cache(host: Host) -> None:
    await built(host)
    alone = await built(host, environment={"NAME": "two", "OPEN_RUNTIMES_BUILD_CACHE": "disabled"})

    assert "Build cache is switched off." in alone
    assert "package-of-one" not in alone


async def test_failed_build_does_not_change_the_cache(host: Host) -> None:
    await built(host)
    archive = gzipped({"main.py": MAIN, "requirements.txt": b"a"})
    failed = await host.build(archive, commands=DOWNLOAD + "; exit 3", environment={"NAME": "bad"})

    assert failed.reason == "command_failed"
    assert "Build cache hit." in await built(host)


async def test_build_of_the_same_input_uses_the_artefact_again(host: Host) -> None:
    archive = gzipped({"main.py": MAIN})
    first = await host.build(archive, entrypoint="main.py")
    second = await host.build(archive, entrypoint="main.py")

    assert first.artefact is not None
    assert second.artefact is not None
    assert second.artefact.key != first.artefact.key
    assert second.artefact.digest == first.artefact.digest
    assert "is used again" in host.log
    await host.blobs.delete(first.artefact.key)
    await host.blobs.delete(second.artefact.key)
    host.lines.clear()
    third = await host.build(archive, entrypoint="main.py")
    assert third.artefact is not None
    assert "is used again" not in host.log


async def test_artefacts_are_never_shared_between_projects(host: Host) -> None:
    archive = gzipped({"main.py": MAIN})
    await host.build(archive, entrypoint="main.py")
    await host.build(archive, entrypoint="main.py", project="other")

    assert "is used again" not in host.log

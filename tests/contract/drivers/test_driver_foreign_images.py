"""Foreign images, which use only the contract's port, archive and log files, serve builds and executions too."""

import io
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from annals.executor.drivers.engine import OWN, connect, engine_problem
from tests.contract.drivers.hosts import PYTHON, Host, configuration
from tests.contract.open_runtimes.control import START, ControlPlane, printed

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]

IMAGE = "annals-test-foreign:latest"
FUNCTION = """
def main(context):
    context.log("logged")
    context.error("complained")
    return context.res.text(context.req.body_text)
"""


@pytest.fixture
def image(folder: Path) -> Iterator[str]:
    """Return Annals' own image without its label; it only speaks the contract."""
    if problem := engine_problem(configuration(folder, "docker")):
        pytest.skip(problem)
    client = connect()
    recipe = f'FROM annals/{PYTHON.replace("-", ":")}\nLABEL {OWN}=""\n'
    client.images.build(fileobj=io.BytesIO(recipe.encode()), tag=IMAGE, rm=True)
    yield IMAGE
    client.images.remove(IMAGE, force=True)
    client.close()


@pytest.fixture
async def foreign(folder: Path, image: str) -> AsyncIterator[Host]:
    made = Host(folder, "docker")
    await made.open(images={PYTHON: image})
    yield made
    await made.close()


async def test_function_is_built_and_runs_with_its_logs(foreign: Host) -> None:
    run = await foreign.function(FUNCTION)
    outcome = await foreign.execute(run, method="POST", body=b"over the contract's port")

    assert (outcome.status_code, outcome.body) == (200, b"over the contract's port")
    assert (outcome.logs, outcome.errors) == ("logged\n", "complained\n")
    assert not list(foreign.config.work.glob("i/*/logs/*"))


HOARD = """
import os, time
def main(context):
    held = []
    for number in range(15):
        name = f"PLACE/file-{number}"
        handle = os.open(name, os.O_RDWR | os.O_CREAT)
        for _ in range(10):
            os.write(handle, os.urandom(1_000_000))
        if DELETED:
            os.unlink(name)
        held.append(handle)
    time.sleep(86393)
"""


@pytest.mark.parametrize("deleted", [True, False])
@pytest.mark.parametrize("path", ["/usr/local/server", "/mnt/code"])
async def test_functions_end_at_the_limit_of_their_disk(foreign: Host, path: str, deleted: bool) -> None:
    await foreign.close()
    await foreign.open(build_disk_bytes=60_000_000)
    run = await foreign.function(HOARD.replace("PLACE", path).replace("DELETED", str(deleted)))
    outcome = await foreign.execute(run, run_seconds=100.0)

    assert (outcome.reason, "its limit on disk" in outcome.message) == ("crashed", True), outcome


async def test_failing_build_command_is_reported(foreign: Host) -> None:
    from tests.unit.executor.archives import gzipped

    outcome = await foreign.build(gzipped({"main.py": b"x"}), commands="exit 4")

    assert (outcome.reason, outcome.exit_code) == ("command_failed", 4)


def test_another_control_plane_runs_such_an_image_by_its_name(folder: Path, image: str) -> None:
    plane = ControlPlane(folder, "docker", images={PYTHON: image})
    plane.open()
    try:
        source = plane.built(image, "main.py", FUNCTION)
        name = plane.name()
        made = plane.create(
            runtimeId=name, image=image, source=source, entrypoint="main.py", runtimeEntrypoint=START, command="echo up"
        )
        answer = plane.execute(name, method="POST", body="over the contract's port").json()
        ran = plane.http.post(f"/runtimes/{name}/commands", json={"command": "ls src/function/main.py"}).json()
    finally:
        plane.close()

    assert printed(made.json()["output"]) == "up\n"
    assert (answer["statusCode"], answer["body"]) == (200, "over the contract's port")
    assert (answer["logs"], answer["errors"]) == ("logged\n", "complained\n")
    assert ran == {"output": "src/function/main.py\n"}

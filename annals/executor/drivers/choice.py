"""Which driver an executor uses."""

import asyncio

import structlog

from annals.executor.config import ExecutorConfig
from annals.executor.drivers.bubblewrap import UPGRADE, find
from annals.executor.drivers.docker import DockerDriver
from annals.executor.drivers.engine import connect, own_images
from annals.executor.drivers.port import Driver
from annals.executor.drivers.sandbox import SandboxDriver

log = structlog.get_logger()


async def choose(config: ExecutorConfig) -> Driver:
    """The driver that the configuration asks for; `auto` takes docker where an engine answers that has images."""
    if config.driver == "docker":
        return DockerDriver(config)
    if config.driver == "auto" and await asyncio.to_thread(engine_problem, config) == "":
        return DockerDriver(config)
    return SandboxDriver(config)


async def warn_of(driver: Driver, config: ExecutorConfig) -> None:
    """Say at the start, and not only in the log of the first build, how isolation falls short on this host."""
    if not isinstance(driver, SandboxDriver):
        return
    program = await asyncio.to_thread(find, config.bwrap)
    if not program.safe:
        log.warning("bubblewrap_has_a_known_hole", program=str(program), fix=UPGRADE)
    if problem := await driver.problem():
        log.warning("sandboxes_cannot_start", problem=problem, fix="`annals doctor` says what to change on this host")


def engine_problem(config: ExecutorConfig) -> str:
    """Why docker cannot serve functions here, as a sentence; empty when it can. Blocking."""
    from docker.errors import DockerException  # noqa: PLC0415 heavy, and only where docker is used

    try:
        client = connect(config.docker_host, timeout=5)
        images = own_images(client)
        client.close()
    except (DockerException, OSError) as failure:
        return f"No container engine answers: {str(failure)[:200]}"
    if not images and not config.images:
        return "A container engine answers, but it has no images for functions: make them with `annals images build`."
    return ""

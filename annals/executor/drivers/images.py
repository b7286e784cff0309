"""Builds the images of the docker driver without an image registry, from Debian packages and this host's toolchains."""

import asyncio
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from annals.domain.runtimes import split
from annals.executor.drivers.engine import connect
from annals.executor.toolchains import (
    INSIDE,
    RUNTIMES,
    SHARED,
    STATIC,
    STATIC_VERSIONS,
    Toolchain,
    Toolchains,
    server_of,
    variables_of,
)

if TYPE_CHECKING:
    from docker import DockerClient

SUITE = "trixie"
BASE = f"annals/base:{SUITE}"
PACKAGES = ("ca-certificates", "python3", "python3-venv", "unzip", "zstd")
PACKAGES_LABEL = "annals.packages"
"""The label with a base image's packages; if they differ, the image is built again."""
DEBIAN_PYTHON = "3.13"
DEFAULT_RUNTIMES = ("node-22", f"python-{DEBIAN_PYTHON}", f"{STATIC}-{STATIC_VERSIONS[0]}")
"""The runtimes whose images are built by default."""

Say = Callable[[str], None]


class ImageBuildFailed(Exception):
    """An image could not be built; the message says what to do."""


async def build_images(runtimes: Sequence[str], data: Path, docker_host: str, say: Say) -> list[str]:
    """Build the base image if it is missing, and an image for each runtime id; return their names.

    `say` is called before each step. Raises ImageBuildFailed, RuntimeUnavailable or docker.errors.DockerException.
    """
    client = await asyncio.to_thread(connect, docker_host)
    try:
        await asyncio.to_thread(_ensure_base, client, say)
        toolchains = Toolchains(data / "runtimes")
        names = []
        for runtime in runtimes or DEFAULT_RUNTIMES:
            language, version = split(runtime)
            debian = (language, version) in (("python", DEBIAN_PYTHON), (STATIC, STATIC_VERSIONS[0]))
            toolchain = None if debian else await toolchains.get(runtime)
            name = f"annals/{language}:{version}"
            say(f"Building {name}")
            await asyncio.to_thread(_build, client, name, language, toolchain)
            names.append(name)
        return names
    finally:
        client.close()


def _ensure_base(client: "DockerClient", say: Say) -> None:
    """Import the base image as one layer: a minimal Debian with the packages that our servers and helpers need."""
    packages = ",".join(PACKAGES)
    if any((image.labels or {}).get(PACKAGES_LABEL) == packages for image in client.images.list(name=BASE)):
        return
    debootstrap = shutil.which("debootstrap")
    if debootstrap is None or os.geteuid() != 0:
        raise ImageBuildFailed(
            f"The base image {BASE} is built with debootstrap, as root: install the package debootstrap."
        )
    say(f"Building {BASE} from Debian packages")
    with tempfile.TemporaryDirectory(prefix="annals-base-") as temporary:
        root, archive = Path(temporary, "root"), Path(temporary, "base.tar")
        _run([debootstrap, "--variant=minbase", f"--include={packages}", SUITE, str(root)])
        for unneeded in ("var/cache/apt", "var/lib/apt/lists", "usr/share/doc", "usr/share/man", "usr/share/locale"):
            shutil.rmtree(root / unneeded, ignore_errors=True)
        _run(["tar", "--create", "--numeric-owner", "--one-file-system", "--file", str(archive), "-C", str(root), "."])
        repository, tag = BASE.split(":")
        changes = [f"LABEL {PACKAGES_LABEL}={packages}"]
        client.api.import_image_from_file(str(archive), repository=repository, tag=tag, changes=changes)


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ImageBuildFailed(f"{Path(command[0]).name} failed: {(done.stdout + done.stderr).strip()[-400:]}")


def _build(client: "DockerClient", name: str, language: str, toolchain: Toolchain | None) -> None:
    """Build one image: the base, a toolchain if the base has none, and the function server."""
    with tempfile.TemporaryDirectory(prefix="annals-image-") as temporary:
        context = Path(temporary)
        for part in (server_of(language), SHARED):
            shutil.copytree(RUNTIMES / part, context / part, ignore=shutil.ignore_patterns("__pycache__"))
        prefix = toolchain.prefix if toolchain else None
        if prefix is not None:
            ignored = shutil.ignore_patterns("share", "test", "tests")
            shutil.copytree(prefix, context / "toolchain", symlinks=True, ignore=ignored)
        (context / "Dockerfile").write_text(dockerfile(toolchain, language), encoding="utf-8")
        image, _ = client.images.build(path=str(context), tag=name, rm=True, forcerm=True)
        if not image.tags:
            raise ImageBuildFailed(f"The engine built {name} but does not list it.")


def dockerfile(toolchain: Toolchain | None, language: str) -> str:
    """Return the Dockerfile: the base, the toolchain (otherwise the base's Python), and the recipe for any base."""
    lines = [f"FROM {BASE}"]
    if toolchain is not None and toolchain.prefix is not None:
        lines += [f"COPY toolchain {INSIDE}"]
        lines += [f"RUN echo {INSIDE}/lib > /etc/ld.so.conf.d/runtime.conf && ldconfig"] if toolchain.libraries else []
    else:
        binary = toolchain.binary if toolchain else f"/usr/bin/python{DEBIAN_PYTHON}"
        lines += [f"RUN mkdir -p {INSIDE}/bin && ln -s {binary} {INSIDE}/bin/python3"]
    lines += [f"ENV PATH={INSIDE}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]
    lines += [f"ENV {name}={value}" for name, value in variables_of(language).items()]
    recipe = (RUNTIMES / "images" / f"{server_of(language)}.Dockerfile").read_text(encoding="utf-8")
    return "\n".join((*lines, recipe.partition("FROM ${BASE}\n")[2]))

"""Builds images without an image registry: those of runtimes and those of Annals itself.

They consist of Debian packages, this host's toolchains, and the packages of the lock file.
"""

import asyncio
import hashlib
import os
import platform
import shutil
import subprocess
import sys
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

PLATFORM_BASE = "annals/platform-base:trixie"
PLATFORM_PACKAGES = ("ca-certificates", "nftables", "python3", "python3-venv")
WHEELS = "annals/wheels:trixie"
"""The platform's base with the wheels of the lock file, which the image of Annals is built from."""
PLATFORM_IMAGES = (("", "annals:latest"), ("postgres", "annals/postgres:18"), ("valkey", "annals/valkey:9"))
"""Targets of `deploy/images/services.Dockerfile` and their images; the first is that of `Dockerfile`."""
BUILD_BACKEND = "hatchling>=1.27"
NEWEST_GLIBC = 41
"""The minor version of the C library in SUITE."""

SUITE = "trixie"
BASE = f"annals/base:{SUITE}"
PACKAGES = ("ca-certificates", "python3", "python3-venv", "unzip", "zstd")
PACKAGES_LABEL = "annals.packages"
"""The label with a base image's packages; if they differ, the image is built again."""
LOCK_LABEL = "annals.lock"
"""The label with the digest of the lock file whose wheels an image has."""
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
        await asyncio.to_thread(_ensure_base, client, BASE, PACKAGES, say)
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


def build_platform(source: Path, docker_host: str, say: Say) -> list[str]:
    """Build the images that compose.yaml runs from the source folder; return their names. Blocking.

    Raises ImageBuildFailed or docker.errors.DockerException.
    """
    if not (source / "Dockerfile").exists():
        raise ImageBuildFailed(f"{source} holds no Dockerfile: run this command in the folder of Annals' source code.")
    client = connect(docker_host)
    try:
        _ensure_base(client, PLATFORM_BASE, PLATFORM_PACKAGES, say)
        _build_wheels(client, source, say)
        for target, name in PLATFORM_IMAGES:
            say(f"Building {name}")
            recipe = "deploy/images/services.Dockerfile" if target else "Dockerfile"
            bases = {} if target else {"BASE": PLATFORM_BASE, "BUILD_BASE": WHEELS}
            client.images.build(
                path=str(source),
                dockerfile=recipe,
                target=target or None,
                buildargs=bases,
                tag=name,
                rm=True,
                forcerm=True,
            )
    finally:
        client.close()
    return [name for _, name in PLATFORM_IMAGES]


def _build_wheels(client: "DockerClient", source: Path, say: Say) -> None:
    """Build an image with the lock file's wheels for the platform's Python, which containers cannot download."""
    lock = hashlib.sha256((source / "requirements.lock").read_bytes()).hexdigest()
    if any((image.labels or {}).get(LOCK_LABEL) == lock for image in client.images.list(name=WHEELS)):
        return
    say("Downloading the packages of the lock file")
    machine = platform.machine()
    tags = [f"manylinux_2_{minor}_{machine}" for minor in range(NEWEST_GLIBC, 4, -1)] + [f"manylinux2014_{machine}"]
    download = [
        *(sys.executable, "-m", "pip", "download", "--quiet", "--only-binary=:all:"),
        *("--implementation=cp", f"--python-version={DEBIAN_PYTHON}", *(f"--platform={tag}" for tag in tags)),
    ]
    with tempfile.TemporaryDirectory(prefix="annals-wheels-") as temporary:
        wheels = f"--dest={temporary}/wheels"
        _run([*download, wheels, "--no-deps", "--require-hashes", "-r", str(source / "requirements.lock")])
        _run([*download, wheels, BUILD_BACKEND])
        lines = [f"FROM {PLATFORM_BASE}", "COPY wheels /wheels", "ENV PIP_NO_INDEX=1 PIP_FIND_LINKS=/wheels"]
        Path(temporary, "Dockerfile").write_text("\n".join([*lines, f"LABEL {LOCK_LABEL}={lock}"]), encoding="utf-8")
        client.images.build(path=temporary, tag=WHEELS, rm=True, forcerm=True)


def _ensure_base(client: "DockerClient", name: str, packages: Sequence[str], say: Say) -> None:
    """Import a base image as one layer: a minimal Debian with some packages, unless it is there."""
    wanted = ",".join(packages)
    if any((image.labels or {}).get(PACKAGES_LABEL) == wanted for image in client.images.list(name=name)):
        return
    debootstrap = shutil.which("debootstrap")
    if debootstrap is None or os.geteuid() != 0:
        raise ImageBuildFailed(
            f"The base image {name} is built with debootstrap, as root: install the package debootstrap."
        )
    say(f"Building {name} from Debian packages")
    with tempfile.TemporaryDirectory(prefix="annals-base-") as temporary:
        root, archive = Path(temporary, "root"), Path(temporary, "base.tar")
        _run([debootstrap, "--variant=minbase", f"--include={wanted}", SUITE, str(root)])
        for unneeded in ("var/cache/apt", "var/lib/apt/lists", "usr/share/doc", "usr/share/man", "usr/share/locale"):
            shutil.rmtree(root / unneeded, ignore_errors=True)
        _run(["tar", "--create", "--numeric-owner", "--one-file-system", "--file", str(archive), "-C", str(root), "."])
        repository, tag = name.split(":")
        changes = [f"LABEL {PACKAGES_LABEL}={wanted}"]
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

"""`annals images`: builds images without an image registry, of runtimes and of Annals itself."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import click

from annals.cli.options import answer, chosen, json_option
from annals.executor.drivers.images import DEFAULT_RUNTIMES, ImageBuildFailed, Say, build_images, build_platform
from annals.executor.errors import RuntimeUnavailable


@click.group()
def images() -> None:
    """Make the docker driver's images, and those of Annals itself."""


@images.command()
@click.argument("runtimes", nargs=-1, metavar="[RUNTIME]...")
@json_option
def build(runtimes: tuple[str, ...], as_json: bool) -> None:
    """Build an image for each runtime id, such as node-22; without any, for the usual ones."""
    settings = chosen()
    _built(
        lambda say: asyncio.run(build_images(runtimes or DEFAULT_RUNTIMES, settings.folder, settings.docker_host, say)),
        as_json,
    )


@images.command()
@json_option
def platform(as_json: bool) -> None:
    """Build the images that compose.yaml runs, from Annals' source code in the working folder."""
    _built(lambda say: build_platform(Path.cwd(), chosen().docker_host, say), as_json)


def _built(build: Callable[[Say], list[str]], as_json: bool) -> None:
    """Build the images, and print their names, or why they cannot be built."""
    # Heavy, and only where docker is used.
    from docker.errors import DockerException  # noqa: PLC0415

    try:
        names = build(lambda step: click.echo(step, err=True))
    except (ImageBuildFailed, RuntimeUnavailable) as error:
        raise click.ClickException(str(error)) from None
    except DockerException as error:
        raise click.ClickException(f"The container engine refuses: {error}. `annals doctor` says more.") from None
    answer({"images": names}, as_json, lambda: "\n".join(names))

"""`annals images`: builds the images of the docker driver without an image registry."""

import asyncio

import click

from annals.cli.options import answer, chosen, json_option
from annals.executor.drivers.images import DEFAULT_RUNTIMES, ImageBuildFailed, build_images
from annals.executor.errors import RuntimeUnavailable


@click.group()
def images() -> None:
    """Make the docker driver's images."""


@images.command()
@click.argument("runtimes", nargs=-1, metavar="[RUNTIME]...")
@json_option
def build(runtimes: tuple[str, ...], as_json: bool) -> None:
    """Build an image for each runtime id, such as node-22; without any, for the usual ones."""
    settings = chosen()

    def say(step: str) -> None:
        click.echo(step, err=True)

    # Heavy, and only where docker is used.
    from docker.errors import DockerException  # noqa: PLC0415

    try:
        names = asyncio.run(build_images(runtimes or DEFAULT_RUNTIMES, settings.folder, settings.docker_host, say))
    except (ImageBuildFailed, RuntimeUnavailable) as error:
        raise click.ClickException(str(error)) from None
    except DockerException as error:
        raise click.ClickException(f"The container engine refuses: {error}. `annals doctor` says more.") from None
    answer({"images": names}, as_json, lambda: "\n".join(names))

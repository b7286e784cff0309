"""`annals version`."""

import importlib.metadata
import platform

import click

from annals.cli.options import answer, json_option


@click.command()
@json_option
def version(as_json: bool) -> None:
    """Say which version this is."""
    content = {"version": importlib.metadata.version("annals"), "python": platform.python_version()}
    answer(content, as_json, lambda: f"annals {content['version']} (Python {content['python']})")

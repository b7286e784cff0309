"""Progress of long commands, and what they leave when they are interrupted."""

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click

from annals.projections.replay.refill import Progress

INTERRUPTED = 130
"""The exit code after Ctrl-C."""

_WIDTH = 30


class Bar:
    """A progress bar on standard error, if that is a terminal."""

    def __init__(self) -> None:
        self._looked_at = sys.stderr.isatty()

    def __call__(self, progress: Progress) -> None:
        self.at(progress.position, progress.newest, progress.events, progress.model)

    def at(self, position: int, newest: int, events: int, subject: str = "model") -> None:
        """Show the progress."""
        if self._looked_at:
            done = position / newest if newest else 1.0
            bar = "█" * round(done * _WIDTH)
            click.echo(f"\r{subject:<14} {bar:<{_WIDTH}} {done:4.0%}  {events:,} events", err=True, nl=False)

    def end(self) -> None:
        """Clear the line."""
        if self._looked_at:
            click.echo("\r\x1b[2K", err=True, nl=False)


@contextmanager
def interruptible(left: str) -> Iterator[Bar]:
    """Show progress during the block; Ctrl-C ends the process and prints what it `left`."""
    bar = Bar()
    try:
        try:
            yield bar
        finally:
            bar.end()
    except (KeyboardInterrupt, asyncio.CancelledError):
        click.echo(f"Interrupted; {left}", err=True)
        sys.exit(INTERRUPTED)

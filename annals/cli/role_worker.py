"""`annals worker` and `annals keeper`: what reacts to events, and what follows the log and the clock."""

import click

from annals.cli.executor_client import open_executor
from annals.cli.foreground import asked_to_end, json_logs, run
from annals.settings import Settings
from annals.supervisor.notify import notify
from annals.workers.keeper_process import serve_keeper
from annals.workers.worker_process import serve_worker


@click.command()
@json_logs
def worker(json_logs: bool) -> None:
    """Run one worker process, configured by settings alone."""
    run("worker", _serve_worker, json_logs=json_logs)


@click.command()
@json_logs
def keeper(json_logs: bool) -> None:
    """Run one keeper process, configured by settings alone; all but one stand by."""
    run("keeper", _serve_keeper, json_logs=json_logs)


async def _serve_worker(settings: Settings) -> None:
    async with open_executor(settings) as executor:
        try:
            await serve_worker(settings, executor, stopping=asked_to_end(), tell=_tell)
        finally:
            notify(STOPPING="1")


async def _serve_keeper(settings: Settings) -> None:
    try:
        await serve_keeper(settings, stopping=asked_to_end(), tell=_tell)
    finally:
        notify(STOPPING="1")


def _tell(doing: str) -> None:
    """The first word means that the process is ready."""
    notify(READY="1", STATUS=doing)

"""`annals listen`: holds the API's listening socket, so that callers wait while API processes are replaced."""

import asyncio
from contextlib import suppress
from pathlib import Path

import click
import structlog

from annals.cli.foreground import asked_to_end, json_logs, run
from annals.http.listening import listen as listening_socket
from annals.http.socket_passing import SocketPassing
from annals.settings import Invalid, Settings
from annals.supervisor.notify import notify

REPORT_SECONDS = 2.0

log = structlog.get_logger()


@click.command()
@json_logs
def listen(json_logs: bool) -> None:
    """Hold the API's listening socket for API processes, configured by settings alone."""
    run("listen", _serve, json_logs=json_logs)


async def _serve(settings: Settings) -> None:
    if not settings.api_socket:
        raise Invalid("ANNALS_API_SOCKET is empty. Name the unix socket that API processes connect to.")
    asked = asked_to_end()
    listening = listening_socket(settings.host, settings.port)
    passing = asyncio.ensure_future(SocketPassing(listening, Path(settings.api_socket)).run())
    log.info("ready", address=f"{settings.host}:{settings.port}", socket=settings.api_socket)
    while not asked.is_set() and not passing.done():
        notify(READY="1", STATUS="passes the listening socket")
        with suppress(TimeoutError):
            async with asyncio.timeout(REPORT_SECONDS):
                await asked.wait()
    notify(STOPPING="1")
    passing.cancel()
    with suppress(asyncio.CancelledError):
        await passing

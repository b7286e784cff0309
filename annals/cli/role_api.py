"""`annals api`: one API process. Several share a port.

They share the supervisor's socket or that of `annals listen`, or each has a socket of its own with SO_REUSEPORT.
"""

import asyncio
import os
import socket
import time
from pathlib import Path
from typing import Any

import click
import structlog

from annals.app.edge.error_answers import rejection_answer
from annals.app.main import create_app
from annals.app.services import RemoteExecutor
from annals.cli.executor_client import open_executor
from annals.cli.foreground import asked_to_end, json_logs, run
from annals.http.http_server import HttpServer, NotStarted
from annals.http.listening import Unavailable, listen
from annals.http.socket_passing import receive
from annals.settings import Settings
from annals.supervisor.notify import notify
from annals.telemetry.metrics import share
from annals.telemetry.request_log import RequestLog

log = structlog.get_logger()

IN_FLIGHT_SECONDS = 4
"""How long requests in flight may take to end once the process was asked to."""

REPORT_SECONDS = 2.0


class Watched:
    """Passes everything on to the application; knows whether it is ready and how many requests run."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self.ready = asyncio.Event()
        self.running = 0
        self.leaving = False
        """Whether answers say that their connection closes, so that the next request goes to another process."""
        self.failure: BaseException | None = None
        """Why the application did not start."""
        self._requests = RequestLog()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self._live(scope, receive, send)
            return
        method, path, status = scope["method"], scope["path"], 0
        began = time.perf_counter()

        async def sending(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if self.leaving:
                    message = {**message, "headers": [*message["headers"], (b"connection", b"close")]}
            await send(message)

        self.running += 1
        try:
            await self._app(scope, receive, sending)
        finally:
            self.running -= 1
            self._requests.ended(method, path, status, time.perf_counter() - began)

    async def _live(self, scope: Any, receive: Any, send: Any) -> None:
        async def sending(message: Any) -> None:
            if message["type"] == "lifespan.startup.failed":
                message = {
                    **message,
                    "message": "",
                }  # a traceback; the process prints the reason as a sentence when it ends
            await send(message)
            if message["type"] == "lifespan.startup.complete":
                self.ready.set()

        try:
            await self._app(scope, receive, sending)
        except Exception as error:  # the server only says that it did not start
            self.failure = _innermost(error)
            raise

    async def report(self) -> None:
        """Report to the supervisor until cancelled: first readiness, then the number of requests."""
        while True:
            self._requests.summarise()
            notify(READY="1", STATUS=f"{self.running} requests" if self.running else "idle")
            await asyncio.sleep(REPORT_SECONDS)


def _innermost(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):  # of the application's own tasks
        error = error.exceptions[0]
    return error


@click.command()
@click.option("--listen-fd", type=int, default=-1, hidden=True, help="A listening socket to serve.")
@json_logs
def api(listen_fd: int, json_logs: bool) -> None:
    """Run one API process, configured by settings alone."""

    async def serve(settings: Settings) -> None:
        async with open_executor(settings) as executor:
            await _serve(settings, executor, listen_fd)

    run("api", serve, json_logs=json_logs)


async def _serve(settings: Settings, executor: RemoteExecutor, descriptor: int) -> None:
    asked = asked_to_end()
    if settings.metrics is not None:
        share(settings.metrics, settings.process_name or f"api{os.getpid()}")
    app = Watched(create_app(settings, executor))
    listening, holder = await _listening(settings, descriptor)
    shared = descriptor >= 0 or holder is not None
    server = HttpServer(app, listening, rejection_answer)
    serving = asyncio.ensure_future(server.run_until_stopped())
    ready = asyncio.ensure_future(app.ready.wait())
    ending = asyncio.ensure_future(asked.wait() if holder is None else _asked_or_lost(asked, holder))
    await asyncio.wait([serving, ready, ending], return_when=asyncio.FIRST_COMPLETED)
    if ready.done():
        log.info("ready", endpoint=settings.endpoint)
        reporting = asyncio.ensure_future(app.report())
        await asyncio.wait([serving, ending], return_when=asyncio.FIRST_COMPLETED)
        reporting.cancel()
    notify(STOPPING="1")
    deadline = time.monotonic() + IN_FLIGHT_SECONDS
    if shared and ready.done() and not serving.done():
        app.leaving = True
        await server.leave(seconds=IN_FLIGHT_SECONDS)
    server.stop(seconds=deadline - time.monotonic())
    try:
        await serving
    except NotStarted as error:
        raise app.failure or error from None
    if not asked.is_set() and holder is not None:
        raise Unavailable("`annals listen` ended. This process starts again to receive the new listening socket.")


async def _listening(settings: Settings, descriptor: int) -> tuple[socket.socket, socket.socket | None]:
    """Return the socket to serve, and the connection that ends with the process that passed it, if one did."""
    if descriptor >= 0:
        return socket.socket(fileno=descriptor), None
    if settings.api_socket:
        return await receive(Path(settings.api_socket))
    return listen(settings.host, settings.port, shared=True), None


async def _asked_or_lost(asked: asyncio.Event, holder: socket.socket) -> None:
    """Wait until the process is asked to end, or the process that passed the listening socket has ended."""
    asking = asyncio.ensure_future(asked.wait())
    losing = asyncio.ensure_future(asyncio.get_running_loop().sock_recv(holder, 1))
    await asyncio.wait([asking, losing], return_when=asyncio.FIRST_COMPLETED)
    for task in (asking, losing):
        task.cancel()
    holder.close()

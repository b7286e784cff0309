"""Runs user code on the main thread.

As in a script, user code owns the main thread: signal handlers, event loops and objects bound to their thread work as
usual. A synchronous `main` never runs together with another call, since module-level clients may contain the caller's
key. HTTP has a separate thread, so health checks, timeouts and limits work while user code blocks.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
from typing import Any, Callable

from . import native
from .loader import Loader, NotLoaded, format_trace, message_of
from .logs import Log
from .request import Request
from .response import Reply, Response, Unusable, finish
from .static import Files


class Context:
    """The argument of a function."""

    __slots__ = ("error", "log", "req", "res")

    def __init__(self, request: Request, log: Log) -> None:
        self.req = request
        self.res = Response()
        self.log = log.log
        self.error = log.error


class Job:
    """One execution on its way: `answer` is called once, on the wire's loop, unless the timeout came first.

    `exclusive` tells that its `main` is a plain function, which runs alone.
    """

    __slots__ = ("answer", "done", "exclusive", "log", "request", "task", "timer")

    def __init__(self, request: Request, log: Log, answer: Callable[[Reply], None]) -> None:
        self.request = request
        self.log = log
        self.answer = answer
        self.done = False
        self.exclusive = False
        self.task: asyncio.Task[None] | None = None
        self.timer: asyncio.TimerHandle | None = None


class Runner:
    """The user thread: receives jobs from the HTTP thread and returns replies to it."""

    def __init__(self, complete: Callable[[Job, Reply], None], wire: asyncio.AbstractEventLoop) -> None:
        self.loop = asyncio.new_event_loop()
        self.complete = complete
        self.wire = wire
        self.loader: Loader | Files | None = None

    def run_forever(self) -> None:
        """Run jobs on the calling thread until the process ends."""
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    def submit(self, job: Job) -> None:
        """Start a job, from the HTTP thread. Each job has its own context, by which `print` finds its log."""
        self.loop.call_soon_threadsafe(self.start, job, context=contextvars.Context())

    def cancel(self, job: Job) -> None:
        """Cancel a coroutine at its timeout, from the HTTP thread. Synchronous code cannot be stopped."""
        self.loop.call_soon_threadsafe(self.cancel_task, job)

    def cancel_task(self, job: Job) -> None:
        if job.task is not None:
            job.task.cancel()

    def start(self, job: Job) -> None:
        if job.done or self.loader is None:  # its time ran out while it waited
            return
        native.current.set(job.log)
        try:
            main = self.loader.load()
            job.exclusive = True
            output = main(Context(job.request, job.log))
            if inspect.isawaitable(output):
                job.exclusive = False
                job.task = self.loop.create_task(self.wait(job, output))
                return
        except NotLoaded as error:
            self.finish_failed(job, str(error), 503)
        except BaseException as error:
            self.finish_raised(job, error)
        else:
            self.finish(job, output)

    async def wait(self, job: Job, output: Any) -> None:
        try:
            output = await output
        except asyncio.CancelledError:
            self.finish_failed(job, "Execution canceled.", 500)  # by user code: the timeout has answered already
        except BaseException as error:  # an exit ends the execution, not the instance
            self.finish_raised(job, error)
        else:
            self.finish(job, output)

    def finish(self, job: Job, output: Any) -> None:
        try:
            reply = finish(output, job.log.id)
        except Unusable as error:
            self.finish_failed(job, str(error), 500)
        except Exception as error:
            self.finish_raised(job, error)
        else:
            self.wire.call_soon_threadsafe(self.complete, job, reply)

    def finish_raised(self, job: Job, error: BaseException) -> None:
        code = self.loader.code if self.loader is not None else ""
        try:
            text = format_trace(error, code)
        except Exception:  # an exception whose own text raises
            text = type(error).__name__
        self.finish_failed(job, text or message_of(error), 500)

    def finish_failed(self, job: Job, message: str, status: int) -> None:
        job.log.error(message)
        reply = failure(status, job.log.id)
        self.wire.call_soon_threadsafe(self.complete, job, reply)


def failure(status: int, log_id: str) -> Reply:
    """Return an error reply with the status alone; the reason is logged in the errors."""
    return finish({"statusCode": status}, log_id)

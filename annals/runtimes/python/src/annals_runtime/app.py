"""The application: system routes, checks, and the life of each execution. Runs on the server's event loop."""

from __future__ import annotations

import asyncio
import hmac
import json
import os
import time
from functools import partial

from . import native
from .connection import MAX_BODY, Connection
from .head import Head, Malformed
from .loader import Loader
from .logs import Logs
from .request import Request, origin_form, visible_headers
from .response import Reply, plain
from .runner import Job, Runner, failure
from .settings import Deployment, Wiring
from .static import Files

SWEEP_SECONDS = 5
LONGEST_SECONDS = 7 * 24 * 3600  # timers overflow beyond what anybody waits for
BAD_TIMEOUT = 'Header "x-open-runtimes-timeout" must be an integer greater than 0.'
UNAUTHORIZED = 'Unauthorized. Provide correct "x-open-runtimes-secret" header.'
# Announces to the executor that this instance runs one call at a time.
ALONE = ("x-open-runtimes-concurrency", "1")
SPECIALISE = "/__annals/specialise"


class App:
    """Answers every request of this process."""

    def __init__(self, wiring: Wiring, loop: asyncio.AbstractEventLoop) -> None:
        self.wiring = wiring
        self.loop = loop
        self.logs = Logs(wiring.logs, wiring.logs_dir, wiring.log_limit)
        self.runner = Runner(self.complete, loop)
        self.connections: set[Connection] = set()
        self.deployment: Deployment | None = None
        if not wiring.generic:
            self.serve_deployment(wiring.code)
        loop.call_soon_threadsafe(self.sweep)

    def serve_deployment(self, code: str) -> None:
        deployment = Deployment(code)
        static = self.wiring.static
        self.runner.loader = Files(deployment.code) if static else Loader(deployment.code, deployment.entrypoint)
        self.deployment = deployment

    def admit(self, head: Head) -> Reply | None:
        """Check the headers in the contract's order; return an error reply, or None to read the body."""
        path = origin_form(head.target).partition("?")[0]
        if path == "/__opr/health":
            return plain(200, "OK")
        if path == "/__opr/timings":
            return plain(200, self.timings())
        if path == SPECIALISE and self.wiring.generic:
            return None if self.deployment is None else plain(409, "Already specialised.")
        if self.deployment is None:
            return plain(503, "Not specialised yet.")
        timeout = head.headers.get("x-open-runtimes-timeout")
        if timeout and not (timeout.isascii() and timeout.isdigit() and int(timeout[:18]) > 0):
            return plain(500, BAD_TIMEOUT)
        secret = head.headers.get("x-open-runtimes-secret", "").encode("utf-8", "surrogateescape")
        if self.deployment.secret and not hmac.compare_digest(secret, self.deployment.secret):
            return plain(500, UNAUTHORIZED)
        return None

    def too_large(self) -> Reply:
        return plain(413, f"Request body is larger than {MAX_BODY} bytes.")

    def malformed(self, error: Malformed) -> Reply:
        return plain(error.status, str(error))

    def timings(self) -> str:
        try:
            with open(os.path.join(self.wiring.telemetry, "timings.txt"), encoding="utf-8") as file:
                return file.read()
        except OSError:
            return ""

    def serve(self, connection: Connection, head: Head, body: bytes) -> None:
        deployment = self.deployment
        if deployment is None:
            connection.reply(self.specialise(body))
            return
        headers = visible_headers(head.headers, deployment.enforced)
        request = Request(head.method, origin_form(head.target), headers, body)
        log = self.logs.open(head.headers, development=deployment.development)
        job = Job(request, log, connection.reply)
        timeout = head.headers.get("x-open-runtimes-timeout")
        if timeout:
            seconds = min(int(timeout[:18]), LONGEST_SECONDS)
            job.timer = self.loop.call_later(seconds, self.expire, job)
        native.running.add(log)
        self.runner.submit(job)

    def complete(self, job: Job, reply: Reply) -> None:
        """Write the logs before the reply: a caller with the reply can read all logs."""
        if job.done:
            return
        job.done = True
        if job.timer is not None:
            job.timer.cancel()
        native.running.discard(job.log)
        job.log.close()
        if job.exclusive:
            reply.headers.append(ALONE)
        job.answer(reply)

    def expire(self, job: Job) -> None:
        if not job.done:
            job.log.error("Execution timed out.")
            self.complete(job, failure(500, job.log.id))
            self.runner.cancel(job)

    def sweep(self) -> None:
        now = time.monotonic()
        for connection in list(self.connections):
            connection.expire(now)
        self.loop.call_later(SWEEP_SECONDS, self.sweep)

    def specialise(self, body: bytes) -> Reply:
        """Apply the environment and code of one deployment."""
        try:
            wish = json.loads(body)
            environment = {str(name): str(value) for name, value in wish["env"].items()}
            code = str(wish["code"])
            os.environ.update(environment)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            return plain(400, f"Expected {{env, code}}: {error!r}.")
        self.serve_deployment(code)
        return plain(200, "OK")


def connection_factory(app: App) -> partial[Connection]:
    return partial(Connection, app)

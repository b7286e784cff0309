"""A headless browser, and a site of another origin whose page reports its results to the site's own server."""

import json
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Empty, Queue
from typing import Any

SECONDS = 150
_PROGRAMS = ("chromium", "chromium-browser", "google-chrome")


def program() -> str | None:
    """Return the path of this machine's browser, or None."""
    return next((found for name in _PROGRAMS if (found := shutil.which(name))), None)


class Site:
    """A loopback server of files by path; it runs an action for `POST /<ask>` and queues what pages `POST /report`."""

    def __init__(self, files: Mapping[str, tuple[str, bytes]], asks: Mapping[str, Callable[[], None]]) -> None:
        reports: Queue[Any] = Queue()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                kind, body = files.get(self.path.partition("?")[0], ("text/plain", b""))
                self._answer(200 if body else 404, kind, body)

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"] or 0))
                if self.path == "/report":
                    reports.put(json.loads(body))
                else:
                    asks[self.path]()
                self._answer(200, "text/plain", b"done")

            def _answer(self, status: int, kind: str, body: bytes) -> None:
                self.send_response(status)
                self.send_header("content-type", kind)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Log nothing: the test reports errors itself."""

        self.reports = reports
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.origin = f"http://localhost:{self.server.server_port}"


@contextmanager
def serving(files: Mapping[str, tuple[str, bytes]], asks: Mapping[str, Callable[[], None]]) -> Iterator[Site]:
    site = Site(files, asks)
    thread = threading.Thread(target=site.server.serve_forever, daemon=True)
    thread.start()
    try:
        yield site
    finally:
        site.server.shutdown()
        site.server.server_close()
        thread.join(60)


def visit(browser: str, site: Site, profile: Path) -> Any:
    """Open the site's first page in a fresh profile, wait for its report, and return it."""
    log = profile.with_suffix(".log")
    arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
    with log.open("w") as writing:
        process = subprocess.Popen(
            [browser, *arguments, f"--user-data-dir={profile}", f"{site.origin}/"], stdout=writing, stderr=writing
        )
    try:
        return site.reports.get(timeout=SECONDS)
    except Empty:
        raise AssertionError(f"the page sent no report:\n{log.read_text()[-4000:]}") from None
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

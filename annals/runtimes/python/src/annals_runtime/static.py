"""Serves the files of a deployment, for the `static` runtime: no user code runs."""

from __future__ import annotations

import mimetypes
import os
import posixpath
import stat
from typing import Any
from urllib.parse import unquote

INDEX = "index.html"
MISSING = "404.html"
RESOURCES = "/mnt/resources"
FOUND_ANYWHERE = ".well-known"


class Files:
    """Replaces the loader of an entrypoint: `load` returns a callable that serves files of `code`."""

    def __init__(self, code: str) -> None:
        self.code = code
        self.root = os.path.realpath(code)

    def load(self) -> Any:
        return self.main

    async def main(self, context: Any) -> dict[str, Any]:
        """Serve one request. Asynchronous, so that many are served at once."""
        return self.answer(context)

    def answer(self, context: Any) -> dict[str, Any]:
        request, respond = context.req, context.res
        if request.method not in ("GET", "HEAD"):
            return respond.text("Method not allowed.", 405, {"allow": "GET, HEAD"})
        path = self.find(request.path)
        if path is None:
            return self.missing(respond)
        if os.path.isdir(path):
            return self.folder(request, respond, path)
        return self.file(request, respond, path)

    def folder(self, request: Any, respond: Any, path: str) -> dict[str, Any]:
        index = os.path.join(path, INDEX)
        if not os.path.isfile(index) or not self.inside(index):
            return self.missing(respond)
        if not request.path.endswith("/"):  # links of the page are relative to its folder
            query = f"?{request.query_string}" if request.query_string else ""
            return respond.redirect("/" + request.path.strip("/") + "/" + query, 301)
        return self.file(request, respond, index)

    def file(self, request: Any, respond: Any, path: str) -> dict[str, Any]:
        with open(path, "rb") as file:
            found = os.fstat(file.fileno())
            tag = f'"{found.st_mtime_ns:x}-{found.st_size:x}"'
            if tag in request.headers.get("if-none-match", ""):
                return respond.binary(b"", 304, {"etag": tag})
            kind = mimetypes.guess_type(path)[0] or "application/octet-stream"
            return respond.binary(file.read(), 200, {"content-type": kind, "etag": tag})

    def missing(self, respond: Any) -> dict[str, Any]:
        """Return the site's own error page, the operator's, or a sentence."""
        for root in (self.root, RESOURCES):
            path = os.path.join(root, MISSING)
            if os.path.isfile(path) and os.path.realpath(path).startswith(os.path.realpath(root) + os.sep):
                with open(path, "rb") as file:
                    return respond.binary(file.read(), 404, {"content-type": "text/html"})
        return respond.text("Not found.", 404)

    def find(self, target: str) -> str | None:
        """Return the file or folder of a path; None if it is hidden, special, or outside the deployment."""
        try:
            steps = posixpath.normpath("/" + unquote(target, errors="strict")).strip("/").split("/")
        except UnicodeDecodeError:
            return None
        if any("\0" in step or (step.startswith(".") and step != FOUND_ANYWHERE) for step in steps):
            return None
        path = os.path.join(self.root, *steps)
        for candidate in (path, f"{path}.html"):
            try:
                mode = os.stat(candidate).st_mode
            except OSError:
                continue
            if self.inside(candidate) and (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                return candidate
        return None

    def inside(self, path: str) -> bool:
        real = os.path.realpath(path)
        return real == self.root or real.startswith(self.root + os.sep)

"""Litestar and Annals' HTTP server with a constant answer, the floor of an API process: `python -m bench.bare PORT`."""

import sys
from typing import Any

import uvloop
from litestar import Litestar, get

from annals.app.edge.error_answers import rejection_answer
from annals.http.http_server import HttpServer
from annals.http.listening import listen

FUNCTION: dict[str, Any] = {
    "$id": "65f1c0ffee65f1c0ffee",
    "$createdAt": "2026-01-01T00:00:00.000+00:00",
    "$updatedAt": "2026-01-01T00:00:00.000+00:00",
    **{name: [] for name in ("execute", "events", "scopes", "vars", "providerBranches", "providerPaths")},
    **dict.fromkeys(("schedule", "entrypoint", "commands", "installationId", "providerBranch", "deploymentId"), ""),
    **dict.fromkeys(("enabled", "live", "logging"), True),
    "name": "bench",
    "runtime": "node-22",
    "timeout": 15,
    "version": "v5",
    "buildSpecification": "s-1vcpu-512mb",
    "runtimeSpecification": "s-1vcpu-512mb",
}


@get("/one")
async def one() -> dict[str, Any]:
    """Return a function with as many fields as a real one."""
    return FUNCTION


@get("/many")
async def many() -> dict[str, Any]:
    """Return a page of functions."""
    return {"total": 25, "functions": [FUNCTION] * 25}


async def serve(port: int) -> None:
    """Serve until the process ends."""
    await HttpServer(
        Litestar([one, many]), listen("127.0.0.1", port, shared=True), rejection_answer
    ).run_until_stopped()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))

"""The fork server: imports every role once, and forks the processes of an instance.

A role starts at once instead of importing for a second, and all roles share the imported memory. Each forked process
becomes a child of the supervisor, so that it runs on when the fork server ends.
"""

import contextlib
import ctypes
import gc
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Sequence

import click

from annals.cli import prepare, role_api, role_executor, role_worker
from annals.supervisor.launch import PR_SET_PDEATHSIG
from annals.supervisor.notify import notify

ROLES = {
    "prepare": prepare.prepare,
    "api": role_api.api,
    "worker": role_worker.worker,
    "keeper": role_worker.keeper,
    "executor": role_executor.executor,
}
REQUEST_BYTES = 256 * 1024
HANDOVER_SECONDS = 5.0
_PR_SET_NAME = 15


@click.command()
@click.option("--channel", type=int, required=True, help="A socket for requests of the supervisor.")
@click.option("--keep", multiple=True, type=int, help="Descriptors that some processes inherit.")
def fork_server(channel: int, keep: Sequence[int]) -> None:
    """Fork the processes of an instance; only its supervisor starts this command."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    supervisor = os.getppid()
    gc.collect()
    gc.freeze()
    with socket.socket(fileno=channel) as requests:
        notify(READY="1", STATUS="waits")
        while True:
            request, output, _, _ = socket.recv_fds(requests, REQUEST_BYTES, 1)
            if not request:
                return
            process = json.loads(request)
            between = os.fork()
            if between:
                os.close(output[0])
                os.waitpid(between, 0)
                continue
            child = os.fork()
            if child:
                with contextlib.suppress(OSError):  # the supervisor is gone; the child ends by itself
                    requests.send(str(child).encode())
                os._exit(0)
            break
    unwanted = {*keep} - {*process["keep"]}
    _become(process, output[0], supervisor, unwanted)
    role, *arguments = process["arguments"]
    ROLES[role].main(args=arguments, prog_name=role)


def _become(request: dict[str, object], output: int, supervisor: int, unwanted: set[int]) -> None:
    """Turn the forked process into the requested role."""
    deadline = time.monotonic() + HANDOVER_SECONDS
    while os.getppid() != supervisor:
        if time.monotonic() > deadline:
            os._exit(1)  # the supervisor is gone
        time.sleep(0.0005)
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL))
    if os.getppid() != supervisor:
        os._exit(1)
    os.setsid()
    for descriptor in (1, 2):
        os.dup2(output, descriptor)
    os.close(output)
    for descriptor in unwanted:
        os.close(descriptor)
    environment = request["environment"]
    assert isinstance(environment, dict)  # noqa: S101 (the supervisor wrote it)
    os.environ.clear()
    os.environ.update(environment)
    name = f"annals {request['name']}"
    libc.prctl(_PR_SET_NAME, name.encode())
    _title(name.encode())


def _title(name: bytes) -> None:
    """Overwrite the command line that `ps` shows; the kernel tells where it lies in memory."""
    with open("/proc/self/stat", encoding="ascii") as file:
        fields = file.read().rpartition(")")[2].split()
    begin, end = int(fields[45]), int(fields[46])
    if 0 < begin < end and len(name) < end - begin:
        ctypes.memset(begin, 0, end - begin)
        ctypes.memmove(begin, name, len(name))


if __name__ == "__main__":
    sys.exit(fork_server())

"""Where an instance's processes are born: it has imported everything once, and forks.

So each starts at once instead of importing for a second, and all share the memory of what was imported. A newborn is
handed over to the supervisor, whose child it is from then on: that this process lives is nobody's condition.
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
@click.option("--channel", type=int, required=True, help="A socket on which the supervisor asks.")
@click.option("--keep", multiple=True, type=int, help="Descriptors that some processes inherit.")
def nursery(channel: int, keep: Sequence[int]) -> None:
    """Fork the processes of an instance; started by its supervisor alone."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    supervisor = os.getppid()
    gc.collect()
    gc.freeze()
    with socket.socket(fileno=channel) as asked:
        notify(READY="1", STATUS="waits")
        while True:
            request, output, _, _ = socket.recv_fds(asked, REQUEST_BYTES, 1)
            if not request:
                return
            told = json.loads(request)
            between = os.fork()
            if between:
                os.close(output[0])
                os.waitpid(between, 0)
                continue
            child = os.fork()
            if child:
                with contextlib.suppress(OSError):  # the supervisor is gone, and the child will notice
                    asked.send(str(child).encode())
                os._exit(0)
            break
    unwanted = {*keep} - {*told["keep"]}
    _become(told, output[0], supervisor, unwanted)
    ROLES[told["arguments"][0]].main(args=told["arguments"][1:], prog_name=told["arguments"][0])


def _become(told: dict[str, object], output: int, supervisor: int, unwanted: set[int]) -> None:
    """Turn the newborn into the process that was asked for."""
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
    environment = told["environment"]
    assert isinstance(environment, dict)  # noqa: S101 (the supervisor wrote it)
    os.environ.clear()
    os.environ.update(environment)
    name = f"annals {told['name']}"
    libc.prctl(_PR_SET_NAME, name.encode())
    _title(name.encode())


def _title(name: bytes) -> None:
    """Write the name over the command line that `ps` shows, where the kernel says it begins and ends."""
    with open("/proc/self/stat", encoding="ascii") as file:
        fields = file.read().rpartition(")")[2].split()
    begin, end = int(fields[45]), int(fields[46])
    if 0 < begin < end and len(name) < end - begin:
        ctypes.memset(begin, 0, end - begin)
        ctypes.memmove(begin, name, len(name))


if __name__ == "__main__":
    sys.exit(nursery())

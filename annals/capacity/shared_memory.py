"""A few bytes of memory that the processes of one host share: a file beside the executor's socket."""

import mmap
import os
from collections.abc import Sequence

import structlog

log = structlog.get_logger(__name__)


def opened(executors: Sequence[str], name: str, size: int) -> mmap.mmap:
    """That of the host whose executor these addresses name. Elsewhere it is this process's own.

    Those who use an executor over the network share no processor with whoever else does.
    """
    socket = next((address.removeprefix("unix:") for address in executors if address.startswith("unix:")), "")
    if socket:
        try:
            return _shared(f"{socket}.{name}", size)
        except OSError as error:  # work goes on as if nobody else were there
            log.warning("memory_not_shared", socket=socket, name=name, error=str(error))
    return mmap.mmap(-1, size)


def _shared(path: str, size: int) -> mmap.mmap:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        if os.fstat(descriptor).st_size < size:
            os.ftruncate(descriptor, size)
        return mmap.mmap(descriptor, size)
    finally:
        os.close(descriptor)

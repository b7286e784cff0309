"""The client of the executors, as roles open it from the settings."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from annals.executor.config import Tls
from annals.executor.wire.client import ExecutorClient
from annals.settings import Settings


@asynccontextmanager
async def open_executor(settings: Settings) -> AsyncIterator[ExecutorClient]:
    """Open the client of the executors. It connects when a connection is needed."""
    client = ExecutorClient(settings.executor_urls, tls(settings), silence_seconds=settings.lease_s)
    try:
        yield client
    finally:
        await client.close()


def tls(settings: Settings) -> Tls | None:
    """Return the files of the mutual TLS between hosts, or None if they are not set."""
    if not settings.tls_certificate_file:
        return None
    return Tls(
        certificate=settings.tls_certificate_file, key=settings.tls_key_file, authority=settings.tls_authority_file
    )

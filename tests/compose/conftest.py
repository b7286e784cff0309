"""One running stack for the tier's tests."""

import os
from collections.abc import Iterator

import pytest

from tests.client import Client
from tests.compose.stack import Stack, missing, running


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    if (problem := missing()) or os.geteuid():
        pytest.skip(problem or "Only root can kill the processes of containers.")
    with running() as made:
        yield made


@pytest.fixture(scope="session")
def client(stack: Stack) -> Client:
    return Client(stack.endpoint, stack.headers)

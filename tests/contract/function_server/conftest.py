"""Instances A, B and C of the runtime contract's checklist, each for node and python."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.contract.function_server.builder import Builder
from tests.contract.function_server.instance import EXTENSIONS, FUNCTIONS, Instance, LogReader, interpreter

Starter = Callable[..., Instance]
ENFORCED = '{"x-custom":"value","X-CUSTOM-UPPERCASE":"Value2","x-open-runtimes-custom":248}'


@pytest.fixture(scope="module", params=["python", "node"])
def language(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def start(language: str) -> Iterator[Starter]:
    """Starts a server of the language; all of them end with the module."""
    started: list[Instance] = []

    def starter(code: Path | None = None, **options: Any) -> Instance:
        options.setdefault("interpreter", interpreter(language))
        instance = Instance(language=language, code=code or FUNCTIONS / language, **options)
        started.append(instance)
        return instance

    yield starter
    for instance in started:
        instance.stop()


@pytest.fixture(scope="module")
def instance_a(start: Starter) -> Instance:
    """Production, with a secret and enforced headers."""
    environment = {
        "OPEN_RUNTIMES_ENV": "production",
        "OPEN_RUNTIMES_HEADERS": ENFORCED,
        "OPEN_RUNTIMES_CPUS": "2.5",
        "OPEN_RUNTIMES_MEMORY": "1024",
        "CUSTOM": "variable",
    }
    return start(secret="s3cret" * 5, environment=environment)


@pytest.fixture(scope="module")
def instance_b(start: Starter) -> Instance:
    """Development mode, no secret, no enforced headers."""
    return start(environment={"OPEN_RUNTIMES_ENV": "development"})


@pytest.fixture(scope="module")
def instance_c(start: Starter, language: str) -> Instance:
    """An entrypoint without an export."""
    return start(environment={"OPEN_RUNTIMES_ENTRYPOINT": "no_export" + EXTENSIONS[language]})


@pytest.fixture
def fresh(start: Starter) -> Iterator[Starter]:
    """Like `start`, for a test that ends what it started."""
    started: list[Instance] = []

    def starter(**options: Any) -> Instance:
        started.append(start(**options))
        return started[-1]

    yield starter
    for instance in started:
        instance.stop()


@pytest.fixture
def reader() -> Iterator[LogReader]:
    reader = LogReader()
    yield reader
    reader.close()


@pytest.fixture
def code(tmp_path: Path, language: str) -> Path:
    """A copy of the fixture function that a test may change."""
    return Path(shutil.copytree(FUNCTIONS / language, tmp_path / "code"))


@pytest.fixture
def builder(language: str) -> Iterator[Builder]:
    root = Path(tempfile.mkdtemp(prefix="fb-"))
    yield Builder(language, root)
    shutil.rmtree(root)

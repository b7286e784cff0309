"""Imports point inwards, and modules import at the top and only declared libraries."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions

import pytest

from annals.cli.main import COMMANDS
from tests.architecture.source import (
    PACKAGE,
    ROOT,
    folder_cycles,
    functions,
    imports,
    modules,
    name_of,
    package_of,
    tree,
)

MAY_IMPORT = {
    "domain": {"domain"},
    "addresses": set(),
    "verify_export": set(),
    "settings": {"addresses", "settings", "domain"},
    "telemetry": {"telemetry", "settings", "domain"},
    "store": {"store", "domain"},
    "capacity": {"capacity", "store", "domain"},
    "projections": {"projections", "store", "domain"},
    "application": {"application", "capacity", "projections", "store", "settings", "telemetry", "domain"},
    "eventsourcing": {"eventsourcing", "store", "settings", "supervisor", "domain"},
    "http": {"http"},
    "executor": {"executor", "http", "store.content.blobs", "domain"},
    "vcs": {"vcs", "store", "domain"},
    "workers": {"workers", "application", "capacity", "vcs", "projections", "store", "settings", "telemetry", "domain"},
    "app": {
        "addresses",
        "app",
        "application",
        "capacity",
        "http",
        "vcs",
        "projections",
        "store",
        "settings",
        "telemetry",
        "domain",
    },
    "supervisor": {"supervisor", "http", "settings", "telemetry", "store", "domain"},
    "cli": {
        "app",
        "application",
        "cli",
        "executor.errors",
        "http",
        "projections",
        "supervisor",
        "store",
        "settings",
        "telemetry",
        "domain",
    },
    "__main__": {"cli"},
}
"""The packages and modules that each package may import."""
EXCEPTIONS = {
    ("annals.cli.role_worker", "annals.workers"): "it composes a worker or a keeper",
    ("annals.cli.role_executor", "annals.executor"): "it composes an executor",
    ("annals.cli.executor_client", "annals.executor"): "it opens the client of the executors for the other roles",
    ("annals.cli.doctor", "annals.executor.service"): "it runs the executor's checks of this host",
    ("annals.cli.images", "annals.executor.drivers.images"): "it builds the images of the docker driver",
    ("annals.cli.load", "annals.workers.keeper"): "it holds the leadership, so that no keeper works meanwhile",
}
"""What one module alone may import as well, with the reason."""
LATE_IMPORTS = {
    ("annals.cli.role_executor", "annals.executor.open_runtimes.main"): "few hosts need Litestar for an executor",
}
"""Own modules that a function imports when it runs, with the reason. The table of commands loads modules by name."""
ROOT_LINES = 80
DOMAIN_LIBRARIES = {"msgspec", "eventsourcing", "croniter"}


def test_imports_point_inwards() -> None:
    wrong, used = [], set()
    for path in modules():
        module = name_of(path)
        package = package_of(module)
        for name, line in imports(path):
            if not package_of(name) or any(_within(name, f"annals.{allowed}") for allowed in MAY_IMPORT[package]):
                continue
            exception = next((pair for pair in EXCEPTIONS if pair[0] == module and _within(name, pair[1])), None)
            used.add(exception)
            if exception is None:
                wrong.append(f"{module}:{line} imports {name}; {package} may import {sorted(MAY_IMPORT[package])}")
    assert wrong == []
    assert EXCEPTIONS.keys() - used == set(), "remove the exceptions that nothing needs"


def _within(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


@pytest.mark.parametrize("root", ["annals/app/main.py", "annals/app/wiring.py", "annals/workers/wiring.py"])
def test_composition_roots_stay_short(root: str) -> None:
    lines = len((ROOT / root).read_text().splitlines())
    assert lines <= ROOT_LINES, "let the parts open themselves beside their classes"


def test_domain_uses_only_its_few_libraries() -> None:
    wrong = [
        f"{name_of(path)}:{line} imports {name}"
        for path in modules("annals/domain")
        for name, line in imports(path)
        if (top := name.split(".")[0]) != "annals"
        and top not in DOMAIN_LIBRARIES
        and top not in sys.stdlib_module_names
    ]
    assert wrong == []


@pytest.mark.parametrize(
    "forbidden", ["os", "random", "secrets", "time", "socket", "subprocess", "pathlib", "io", "asyncio"]
)
def test_domain_reads_no_clock_no_randomness_and_no_io(forbidden: str) -> None:
    wrong = [
        f"{name_of(path)}:{line}"
        for path in modules("annals/domain")
        for name, line in imports(path)
        if name.split(".")[0] == forbidden
    ]
    assert wrong == [], f"hand {forbidden}'s value in as an argument"


def test_domain_never_reads_the_current_time() -> None:
    wrong = [
        f"{name_of(path)}:{node.lineno}"
        for path in modules("annals/domain")
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Attribute) and node.attr in {"now", "utcnow", "today"}
    ]
    assert wrong == [], "take the time as an argument"


def test_own_modules_are_imported_at_the_top() -> None:
    late = {
        (name_of(path), node.module)
        for path in modules()
        for function in functions(path)
        for node in ast.walk(function)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("annals")
    }
    assert late == LATE_IMPORTS.keys(), "move own imports to the top of the module"


def test_imports_form_no_cycle() -> None:
    names = {name_of(path) for path in modules()}
    graph = {
        name_of(path): {name for name, _ in imports(path) if name in names and name != name_of(path)}
        for path in modules()
    }
    done: set[str] = set()

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, " -> ".join((*trail, module))
        if module not in done:
            for target in graph[module]:
                visit(target, (*trail, module))
            done.add(module)

    for module in sorted(names):
        visit(module, ())


def test_folders_form_no_cycle() -> None:
    assert folder_cycles() == [], "move what both folders need to the one that imports nothing of the other"


def test_every_module_is_imported_by_something() -> None:
    named = {name for folder in ("annals", "tests", "bench") for path in modules(folder) for name, _ in imports(path)}
    commands = {target.split(":")[0] for target, _ in COMMANDS.values()}  # loaded by name when they are used
    entry_points = {"annals.cli.main", "annals.cli.fork_server", "annals.__main__", *commands}
    orphans = [
        name_of(path)
        for path in modules()
        if path.name != "__init__.py" and name_of(path) not in named and name_of(path) not in entry_points
    ]
    assert orphans == []
    assert PACKAGE.is_dir()


PRIVATE_NAMES_USED = {"psycopg-pool", "uvicorn", "dramatiq"}
"""Libraries whose private names our subclasses use: a release that moves one must not come in unread."""


def _normal(requirement: str) -> str:
    """A distribution's normalised name, without its versions and extras."""
    return re.sub(r"[-_.]+", "-", re.split(r"[<>=!\[; ]", requirement)[0]).lower()


@pytest.mark.parametrize(("folder", "with_dev"), [("annals", False), ("tests", True), ("bench", True)])
def test_every_imported_library_is_declared(folder: str, with_dev: bool) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    declared = {_normal(requirement) for requirement in project["project"]["dependencies"]}
    if with_dev:
        declared |= {_normal(requirement) for requirement in project["dependency-groups"]["dev"]}
    distributions = packages_distributions()
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name}, which pyproject.toml does not declare"
        for path in modules(folder)
        for name, line in imports(path)
        if (top := name.split(".")[0]) not in {"annals", "tests", "bench", *sys.stdlib_module_names}
        and declared.isdisjoint(map(_normal, distributions.get(top, [])))
    ]
    assert wrong == []


def test_libraries_whose_private_names_are_used_have_an_upper_bound() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    bounded = {_normal(requirement) for requirement in project["project"]["dependencies"] if "<" in requirement}
    assert bounded >= PRIVATE_NAMES_USED


def test_every_dependency_has_its_reason_in_the_decision_on_dependencies() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    text = (ROOT / "docs" / "adr" / "0005-dependencies.md").read_text()
    explained = {
        _normal(name.strip())
        for row in text.splitlines()
        if row.startswith("| ")
        for name in row.split("|")[1].split(",")
    }
    required = {_normal(requirement) for requirement in project["project"]["dependencies"]}
    assert sorted(required - explained) == []

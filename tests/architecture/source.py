"""The source tree as the architecture tests see it: Python files, their imports and their definitions."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "annals"


@cache
def modules(folder: str = "annals") -> tuple[Path, ...]:
    """Our modules below a folder; what runs inside sandboxes, whole or broken on purpose, is not one of them."""
    inside = ("annals/runtimes/", "tests/contract/function_server/functions/")
    found = (ROOT / folder).rglob("*.py")
    return tuple(sorted(p for p in found if not p.relative_to(ROOT).as_posix().startswith(inside)))


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def package_of(module: str) -> str:
    """`annals.store.log.log` is in `store`."""
    parts = module.split(".")
    return parts[1] if parts[0] == "annals" and len(parts) > 1 else ""


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """Yield every module named by an import, with its line; names imported from a package count as modules too.

    Imports within functions and imports for type checking alone are among them.
    """
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module, node.lineno
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def folder_cycles() -> list[list[str]]:
    """Return the groups of folders that import each other in a circle, the largest first.

    A module beside subfolders stands for itself, since it composes them.
    """
    names = {name_of(path) for path in modules()}
    graph: dict[str, set[str]] = {}
    for path in modules():
        source = _folder_of(name_of(path))
        targets = {_folder_of(name) for name, _ in imports(path) if name in names}
        graph.setdefault(source, set()).update(targets - {source})
    reachable = {folder: _reachable(graph, folder) for folder in graph}
    groups = {
        frozenset(other for other in found if folder in reachable.get(other, ())) for folder, found in reachable.items()
    }
    return sorted((sorted(group) for group in groups if len(group) > 1), key=len, reverse=True)


def _folder_of(module: str) -> str:
    path = ROOT.joinpath(*module.split("."))
    folder = path if path.is_dir() else path.parent
    has_subfolders = any((child / "__init__.py").exists() for child in folder.iterdir() if child.is_dir())
    return module if has_subfolders else ".".join(folder.relative_to(ROOT).parts)


def _reachable(graph: dict[str, set[str]], start: str) -> set[str]:
    found, waiting = set[str](), [start]
    while waiting:
        for target in graph.get(waiting.pop(), ()):
            if target not in found:
                found.add(target)
                waiting.append(target)
    return found

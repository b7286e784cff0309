"""The tree as the house rules see it: our Python files, their imports and their definitions."""

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
    """Every module named by an import, with its line; names imported from a package count as modules too."""
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

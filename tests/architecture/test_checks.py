"""Every numbered check of the contract has a test that carries its number."""

import ast
from collections.abc import Iterator, Sequence

from tests.architecture.source import modules, tree

CHECKS = frozenset(range(1, 184))
WITHOUT_TEST: frozenset[int] = frozenset()
"""Checks that no test carries; a ratchet, which may only shrink."""

AGAINST_REAL_PROCESSES = ("tests/api", "tests/faults", "tests/integration/edge", "tests/load")
"""Where a numbered check meets `annals api` over a socket: a whole instance, or an API process of the test's own."""

EVERY_FORMAT = frozenset({"key", "keys", "sdk"})
"""The fixtures that come in every format; a test may as well go through GENERATIONS itself."""

IN_ONE_FORMAT = frozenset({10, 178, 179})
"""Checks that name the formats they are about: none at all, the former, and the former beside the newest."""

OF_RUNTIMES = frozenset(range(1, 59))
OF_THE_EXECUTORS_API = frozenset(range(47, 59))
"""Checks of the runtime contract, and those that another control plane can see."""

Test = ast.FunctionDef | ast.AsyncFunctionDef


def _tests(folders: Sequence[str] = ("tests",)) -> Iterator[Test]:
    for path in (path for folder in folders for path in modules(folder)):
        yield from (node for node in ast.walk(tree(path)) if isinstance(node, Test))


def _numbers(test: Test, mark: str = "behaviours") -> Iterator[int]:
    """The arguments of the test's `pytest.mark.behaviours(...)`, or of another mark."""
    for node in test.decorator_list:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == mark:
            yield from (one.value for one in node.args if isinstance(one, ast.Constant) and isinstance(one.value, int))


def _goes_through_every_format(test: Test) -> bool:
    fixtures = {node.arg for node in ast.walk(test.args) if isinstance(node, ast.arg)}
    words = {node.id for node in ast.walk(test) if isinstance(node, ast.Name)}
    return not fixtures.isdisjoint(EVERY_FORMAT) or "API_VERSIONS" in words


def test_every_numbered_check_of_the_contract_has_a_test() -> None:
    carried = {number for test in _tests() for number in _numbers(test)}

    assert carried - CHECKS == set(), "there are no such checks"
    assert sorted(CHECKS - carried - WITHOUT_TEST) == [], "mark a test with pytest.mark.behaviours(<number>)"
    assert sorted(WITHOUT_TEST & carried) == [], "these have a test now: take them off WITHOUT_TEST"


def test_every_numbered_check_is_tested_against_real_processes() -> None:
    held = {number for test in _tests(AGAINST_REAL_PROCESSES) for number in _numbers(test)}

    assert sorted(CHECKS - held - WITHOUT_TEST) == [], f"put a test of each into one of {AGAINST_REAL_PROCESSES}"


def test_every_numbered_check_is_tested_in_every_format() -> None:
    """Without a header, as 1.8.0 and as 2.5.0, unless the check names its format."""
    held = {number for test in _tests() if _goes_through_every_format(test) for number in _numbers(test)}

    assert sorted(CHECKS - held - IN_ONE_FORMAT - WITHOUT_TEST) == [], "take the `key` or `keys` fixture instead"
    assert sorted(IN_ONE_FORMAT & held) == [], "these are tested in every format: take them off IN_ONE_FORMAT"


def test_every_check_of_the_runtime_contract_has_a_test_with_real_processes() -> None:
    def carried(folder: str) -> set[int]:
        return {number for test in _tests((folder,)) for number in _numbers(test, "runtime")}

    assert carried("tests") - OF_RUNTIMES == set(), "there are no such checks"
    assert sorted(OF_RUNTIMES - carried("tests/contract")) == [], "mark a test with pytest.mark.runtime(<number>)"
    assert sorted(OF_THE_EXECUTORS_API - carried("tests/contract/open_runtimes")) == [], (
        "put a test into tests/contract/open_runtimes"
    )

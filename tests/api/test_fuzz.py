"""Short fuzzing with a fixed seed: it finds no fault, but finds the faults that are planted into another instance."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fuzz.raw import RawFuzzer, case
from tests.fuzz.requests import World, world
from tests.fuzz.schemas import SchemaFuzzer
from tests.fuzz.watch import Watch
from tests.instance import AnnalsInstance, instance_of_its_own

SEED = 20260301
PLANTED = '''
"""Loaded by Python as it starts: makes a read of templates that names a use case fail, as a defect would."""

import sys
from importlib.abc import MetaPathFinder


class Planting(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == "annals.app.controllers":
            sys.meta_path.remove(self)
            from annals.app.catalogue.routes import CatalogueController
            CatalogueController.list_templates.function = broken
        return None


async def broken(controller, call):
    raise RuntimeError("planted")


sys.meta_path.insert(0, Planting())
'''


@pytest.fixture(scope="module")
def fuzzed(annals_instance: AnnalsInstance) -> World:
    return world(annals_instance)


@pytest.fixture(scope="module")
def broken_instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AnnalsInstance]:
    """Run an instance with an operation that raises an unexpected exception."""
    folder: Path = tmp_path_factory.mktemp("planted")
    (folder / "sitecustomize.py").write_text(PLANTED)
    with instance_of_its_own(PYTHONPATH=str(folder)) as instance:
        yield instance


@pytest.fixture(scope="module")
def broken_world(broken_instance: AnnalsInstance) -> World:
    return world(broken_instance)


def test_raw_input_of_a_fixed_seed_breaks_nothing(annals_instance: AnnalsInstance, fuzzed: World) -> None:
    fuzzer = RawFuzzer(fuzzed, SEED)
    with Watch(annals_instance) as watch:
        fuzzer.run(seconds=120, most=400)

    assert list(map(str, fuzzer.findings)) + watch.faults() == []
    assert {200, 400, 401, 404} <= fuzzer.statuses.keys()
    assert fuzzer.statuses.total() > fuzzer.cases / 2 >= 100, "too few cases were answered"


def test_values_that_the_documents_allow_and_forbid_break_nothing(
    annals_instance: AnnalsInstance, fuzzed: World
) -> None:
    fuzzer = SchemaFuzzer(annals_instance, fuzzed, SEED)
    with Watch(annals_instance) as watch:
        fuzzer.run(seconds=20, callers=("key",), options=("--include-path-regex", "^/(users|functions)(/|$)"))

    assert fuzzer.findings + watch.faults() == []
    assert len({operation for operation, _ in fuzzer.covered}) > 20


def test_planted_server_error_is_found_by_raw_input_with_a_repeatable_case(
    broken_instance: AnnalsInstance, broken_world: World
) -> None:
    fuzzer = RawFuzzer(broken_world, SEED, most_findings=1)
    with Watch(broken_instance) as watch:
        fuzzer.run(seconds=240)

    assert fuzzer.findings
    assert all(found.fault.startswith("status 500") for found in fuzzer.findings)
    assert all("templates" in found.replay and f"--seed {SEED} --case " in found.replay for found in fuzzer.findings)
    assert any("planted" in fault for fault in watch.faults()), "the log does not report the fault"


def test_planted_server_error_is_found_by_the_documents(broken_instance: AnnalsInstance, broken_world: World) -> None:
    fuzzer = SchemaFuzzer(broken_instance, broken_world, SEED)

    fuzzer.run(seconds=6, callers=("guest",), options=("--include-path", "/functions/templates"))

    assert fuzzer.findings
    assert all("status 500" in found and "/v1/functions/templates" in found for found in fuzzer.findings)


def test_same_seed_and_number_make_the_same_case(fuzzed: World) -> None:
    first = [case(SEED, number, fuzzed) for number in range(50)]

    assert [case(SEED, number, fuzzed) for number in range(50)] == first
    assert len(set(first)) == 50
    assert case(SEED + 1, 0, fuzzed) != first[0]

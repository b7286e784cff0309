"""What a person may look up is written down, and what is written down exists."""

import inspect
from importlib import import_module

from annals.app.edge.error_answers import STATUS
from annals.domain.errors import DomainError
from tests.architecture import reference
from tests.architecture.source import ROOT
from tests.simulation.mutations import MUTATIONS

THE_CONTRACTS_WORDS = {"No file sent"}


def test_the_reference_page_is_what_the_code_says() -> None:
    assert reference.PAGE.read_text() == reference.page(), "run `make docs`"


def test_every_refusal_has_a_status_and_a_sentence_that_is_one() -> None:
    constraint_errors = [r for r in reference._constraint_errors() if r.__module__.startswith("annals.")]
    assert [r.__name__ for r in constraint_errors if r.type not in STATUS] == []
    assert [
        r.__name__ for r in constraint_errors if not r.default.endswith(".") and r.default not in THE_CONTRACTS_WORDS
    ] == []
    assert DomainError.type in STATUS


def test_every_error_of_the_table_has_its_sentence() -> None:
    assert [line for line in reference._errors() if line.endswith("|  |")] == []


def test_every_planted_bug_is_told_in_its_own_words() -> None:
    page = (ROOT / "docs" / "simulation.md").read_text()
    for module in (ROOT / "tests" / "simulation").glob("mutations_of_*.py"):
        import_module(f"tests.simulation.{module.stem}")  # each adds its own when it is imported
    rows = [f"| `{name}` | {inspect.getdoc(mutation)} |" for name, mutation in MUTATIONS.items()]
    assert [row for row in rows if row not in page] == []

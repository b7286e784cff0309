"""The generated pages of the docs match the code."""

import inspect
from typing import Any

import pytest

from annals.app.edge.error_answers import STATUS
from annals.domain.errors import DomainError
from tests.architecture import errors, http_api, reference
from tests.architecture.source import ROOT
from tests.simulation.mutations import MUTATIONS

FIXED_BY_THE_CONTRACT = {"No file sent"}


@pytest.mark.parametrize("made", [reference, errors, http_api], ids=lambda made: made.PAGE.name)
def test_generated_page_is_up_to_date(made: Any) -> None:
    assert made.PAGE.read_text() == made.page(), "run `make docs`"


def test_every_error_has_a_status_and_a_sentence() -> None:
    types = [*errors.error_types()]
    assert [error.__name__ for error in types if error.type not in STATUS] == []
    assert [e.__name__ for e in types if not e.default.endswith(".") and e.default not in FIXED_BY_THE_CONTRACT] == []
    assert DomainError.type in STATUS


def test_every_error_type_has_a_next_step() -> None:
    assert {*errors.NEXT_STEPS} == {*STATUS}


def test_every_planted_bug_is_documented() -> None:
    page = (ROOT / "docs" / "simulation.md").read_text()
    rows = [f"| `{name}` | {inspect.getdoc(mutation)} |" for name, mutation in MUTATIONS.items()]
    assert [row for row in rows if row not in page] == []

"""The sentences of the pages are short, and their commands run."""

import re
from pathlib import Path

import pytest

from annals.cli.main import COMMANDS
from annals.settings import read
from tests.architecture.pages import Block, blocks, commands, pages
from tests.architecture.sentences import LONGEST, long_sentences, sentences
from tests.architecture.source import PACKAGE, ROOT

NOT_RUN = {
    "README.md": 1,
    "docs/coming-from-appwrite.md": 1,
    "docs/deployment.md": 2,
    "docs/operations.md": 1,
    "docs/proof.md": 2,
    "docs/simulation.md": 1,
    "docs/tutorial.md": 1,
}
"""Shell blocks that no test can run, by page."""

RUN_BY = {
    "README.md": "tests/api/test_readme.py",
    "docs/analytics.md": "tests/api/test_analytics_docs.py",
    "docs/deployment.md": "tests/compose/test_stack.py",
    "docs/eventsourcing.md": "tests/api/test_eventsourcing_docs.py",
    "docs/facade.md": "tests/contract/open_runtimes/test_open_runtimes_docs.py",
    "docs/guide.md": "tests/api/test_tutorial_docs.py",
    "docs/operations.md": "tests/api/test_operations_docs.py",
    "docs/proof.md": "tests/api/test_proof_docs.py",
    "docs/time-travel.md": "tests/api/test_time_travel_docs.py",
    "docs/troubleshooting.md": "tests/api/test_tutorial_docs.py",
    "docs/tutorial.md": "tests/api/test_tutorial_docs.py",
}
"""The test that runs the commands of a page."""

_SETTING = re.compile(r"^export (ANNALS_\w+)=(\S+)$", re.MULTILINE)
_COMMAND = re.compile(r"^annals ([a-z-]+)", re.MULTILINE)
_INDENTED_COMMAND = re.compile(r"\n\n    (annals|make|curl|docker|mkdir|python) ")


_FILE = re.compile(r"`((?:annals|tests|bench|docs)/[\w./-]+\.(?:py|sql|sh|md|toml))(?:::\w+)?`")
_MODULE = re.compile(r"`(?:annals\.)?([a-z_]+(?:\.[a-z_]+)+)`")


def _name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", pages(), ids=_name)
def test_page_has_no_long_sentence(page: Path) -> None:
    found = [str(sentence) for sentence in long_sentences(page)]
    assert found == [], f"split sentences of more than {LONGEST} words"


def test_sentences_end_at_full_stops_and_items_but_not_inside_code_or_tables() -> None:
    text = "# Title\n\nOne two `a. B c` three. Four\nfive.\n\n- six seven\n- eight\n\n| A. B |\n\n```sh\nrun. It\n```\n"
    found = [(sentence.words, sentence.location) for sentence in sentences("page", text)]
    assert found == [(4, "page:3"), (2, "page:3"), (2, "page:6"), (1, "page:7")]


def test_commands_of_each_page_run_in_a_test() -> None:
    assert {_name(page) for page in pages() if commands(_name(page))} == set(RUN_BY)
    for page, test in RUN_BY.items():
        assert f'"{page}"' in (ROOT / test).read_text(), f"{test} does not run {page}"


def test_commands_stand_in_fenced_blocks() -> None:
    assert [_name(page) for page in pages() if _INDENTED_COMMAND.search(page.read_text())] == []


def test_files_that_pages_name_exist() -> None:
    named = {(_name(page), file) for page in pages() for file in _FILE.findall(page.read_text())}
    assert len(named) > 100
    assert sorted(f"{page}: {file}" for page, file in named if not (ROOT / file).exists()) == []


def test_modules_that_the_architecture_names_exist() -> None:
    packages = {path.stem for path in PACKAGE.iterdir()}
    named = set(_MODULE.findall((ROOT / "docs/architecture.md").read_text()))
    paths = {name: PACKAGE.joinpath(*name.split(".")) for name in named if name.split(".")[0] in packages}
    assert len(paths) > 30
    assert [name for name, path in paths.items() if not (path.is_dir() or path.with_suffix(".py").exists())] == []


def test_blocks_that_are_not_run_are_few_and_have_a_reason() -> None:
    found = {_name(page): _not_run(_name(page)) for page in pages()}
    assert {page: len(skipped) for page, skipped in found.items() if skipped} == NOT_RUN
    assert [block for skipped in found.values() for block in skipped if len(block.not_run.split()) < 4] == []


@pytest.mark.parametrize("page", NOT_RUN)
def test_blocks_that_are_not_run_name_settings_and_commands_that_exist(page: str) -> None:
    for block in _not_run(page):
        read(dict(_SETTING.findall(block.text)))  # raises for an unknown name or a wrong value
        assert set(_COMMAND.findall(block.text)) <= set(COMMANDS)


def _not_run(page: str) -> list[Block]:
    return [block for block in blocks(page) if block.language == "sh" and block.not_run]

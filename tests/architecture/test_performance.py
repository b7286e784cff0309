"""README and docs/figures.md quote the last measured results, and docs/performance.md explains each missed target."""

import json

from bench.quote import PAGE, README, RESULTS, ROOT, quoted, summary, whole


def test_pages_quote_the_last_results() -> None:
    results = json.loads(RESULTS.read_text())
    for page, section in ((README, summary(results)), (PAGE, whole(results))):
        assert page.read_text() == quoted(page.read_text(), section), "run `python -m bench.quote`"


def test_every_figure_with_a_target_says_whether_it_was_met() -> None:
    figures = json.loads(RESULTS.read_text())["figures"]
    assert figures
    assert [f["name"] for f in figures if (f["target"] is None) != (f["met"] is None)] == []


def test_every_missed_target_is_explained() -> None:
    page = (ROOT / "docs" / "performance.md").read_text()
    missed = [f["name"] for f in json.loads(RESULTS.read_text())["figures"] if f["met"] is False]
    explained = [row.split("|")[1].split(", ")[0].strip() for row in page.splitlines() if row.startswith("| ")]
    assert [name for name in missed if not any(name.startswith(figure) for figure in explained[1:])] == []

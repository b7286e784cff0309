"""The sections of the README and docs/figures.md about the last results; `python -m bench.quote` writes them."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
README, PAGE = ROOT / "README.md", ROOT / "docs" / "figures.md"
RESULTS = Path(__file__).with_name("results.json")
BEGIN, END = "<!-- performance:begin -->\n", "<!-- performance:end -->\n"

HEADLINES = (
    "start to ready",
    "cold first call, sandbox, node, p50",
    "warm sync execution, node, 32 callers",
    "GET one function, 32 callers",
    "durable append, 32 callers, commits of 1 ms",
)
"""The five figures of the README; the page has all of them."""

Figures = Iterable[dict[str, Any]]


def summary(results: dict[str, Any]) -> str:
    """Return the README's section: five figures, and how many targets were met, as Markdown."""
    by_name = {figure["name"]: figure for figure in results["figures"]}
    judged = [figure for figure in results["figures"] if figure["met"] is not None]
    met = sum(figure["met"] for figure in judged)
    return "\n".join(
        [
            f"Measured on {results['machine']['cores']} cores that client, API, workers, executor and Postgres share:",
            "",
            "| figure | value | target |",
            "|---|---|---|",
            *(f"| {name} | {_value(by_name[name])} | {_target(by_name[name])} |" for name in HEADLINES),
            "",
            f"{met} of {len(judged)} targets were met. [Figures](docs/figures.md) has all of them, and",
            "[Performance](docs/performance.md) says where the time goes. A target counts as met within 15 %.",
            "",
        ]
    )


def whole(results: dict[str, Any]) -> str:
    """Return every figure of a run as Markdown."""
    return "\n".join([*_about(results["machine"]), "", *_table(results["figures"]), ""])


def quoted(page: str, section: str) -> str:
    """Return a page with its section replaced."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{section}\n{END}{after}"


def _about(machine: dict[str, Any]) -> list[str]:
    return [
        f"Measured on {machine['cores']} cores that client, API, workers, executor and Postgres share.",
        f"A durable insert took {machine['durable_insert_ms']} ms; load average at the start: {machine['load']}.",
        "The floor is the cheapest way to do the same in the same run: a bare answer of the same server,",
        "one raw insert, the function server called directly. The ratio is the figure over its floor.",
    ]


def _table(figures: Figures) -> list[str]:
    lines = ["| figure | value | floor | ratio | target |", "|---|---|---|---|---|"]
    for figure in figures:
        floor = "" if figure["floor"] is None else _number(figure["floor"])
        ratio = "" if figure["ratio"] is None else f"{figure['ratio']:.3g}"
        lines.append(f"| {figure['name']} | {_value(figure)} | {floor} | {ratio} | {_target(figure)} |")
    return lines


def _value(figure: dict[str, Any]) -> str:
    return f"{_number(figure['value'])} {figure['unit']}"


def _target(figure: dict[str, Any]) -> str:
    if figure["target"] is None:
        return ""
    return f"{_number(figure['target'])} ({'met' if figure['met'] else 'missed'})"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


if __name__ == "__main__":
    last = json.loads(RESULTS.read_text())
    README.write_text(quoted(README.read_text(), summary(last)))
    PAGE.write_text(quoted(PAGE.read_text(), whole(last)))

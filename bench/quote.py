"""The sections of the README and docs/performance.md about the last results; `python -m bench.quote` writes them."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
README, PAGE = ROOT / "README.md", ROOT / "docs" / "performance.md"
RESULTS = Path(__file__).with_name("results.json")
BEGIN, END = "<!-- performance:begin -->\n", "<!-- performance:end -->\n"

HEADLINES = (
    "start to ready",
    "idle memory of the whole stack",
    "durable append, 32 callers, commits of 1 ms",
    "GET one function, 32 callers",
    "list of 25 functions, 32 callers",
    "create function, 8 callers",
    "build of hello, upload to ready, node",
    "build of hello, upload to ready, python",
    "cold first call, sandbox, node, p50",
    "cold first call, sandbox, python, p50",
    "cold first call, docker, node, p50, pooled",
    "warm sync execution, node, 32 callers",
    "warm sync execution, python, 32 callers",
    "50 simultaneous first calls, slowest",
    "async accepted, 32 callers",
    "async completed, hello, from the first call to the last end",
    "accepted to completed, one each 0.5 s, p50",
    "GET one function as of a position, 10,000 versions deep, p50",
    "replay: fold, a model of one's own",
    "proof: verify the whole log",
    "an execution in the hot log",
)
"""The figures that matter most to a newcomer; docs/performance.md has all of them."""

Figures = Iterable[dict[str, Any]]


def summary(results: dict[str, Any]) -> str:
    """Return the README's section as Markdown: machine, headlines, and the number of targets that were met."""
    by_name = {figure["name"]: figure for figure in results["figures"]}
    judged = [figure for figure in results["figures"] if figure["met"] is not None]
    met = sum(figure["met"] for figure in judged)
    return "\n".join(
        [
            *_about(results["machine"]),
            "",
            *_table(by_name[name] for name in HEADLINES),
            "",
            f"{met} of {len(judged)} targets were met. [Performance](docs/performance.md) has every figure,",
            "and says of each that missed where the time goes.",
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
        value = f"{_number(figure['value'])} {figure['unit']}"
        floor = "" if figure["floor"] is None else _number(figure["floor"])
        ratio = "" if figure["ratio"] is None else f"{figure['ratio']:.3g}"
        target = "" if figure["target"] is None else f"{_number(figure['target'])} ({_state(figure)})"
        lines.append(f"| {figure['name']} | {value} | {floor} | {ratio} | {target} |")
    return lines


def _state(figure: dict[str, Any]) -> str:
    return "met" if figure["met"] else "missed"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


if __name__ == "__main__":
    last = json.loads(RESULTS.read_text())
    README.write_text(quoted(README.read_text(), summary(last)))
    PAGE.write_text(quoted(PAGE.read_text(), whole(last)))

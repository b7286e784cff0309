"""Figures, their floors of the same run, and their targets."""

import json
import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

HEADROOM = 1.15
"""A target counts as met within 15 %: these machines are noisy."""


class Figure(msgspec.Struct, kw_only=True):
    """`floor` is the cheapest way to do the same, measured in the same run; `ratio` is value / floor.

    `target` is None where none is set; a `unit` that ends in `/s` or is `x` wants to be high, any other low.
    """

    name: str
    value: float
    unit: str
    floor: float | None = None
    ratio: float | None = None
    target: float | None = None
    met: bool | None = None
    note: str = ""

    def judged(self) -> "Figure":
        if self.floor:
            self.ratio = round(self.value / self.floor, 3)
        if self.target is not None:
            high = self.unit.endswith("/s") or self.unit == "x"
            self.met = self.value * HEADROOM >= self.target if high else self.value <= self.target * HEADROOM
        self.value = float(f"{self.value:.4g}")
        self.floor = float(f"{self.floor:.4g}") if self.floor is not None else None
        return self


def say(text: str) -> None:
    """Print the progress of a run."""
    print(text, file=sys.stderr, flush=True)


def machine(fsync_ms: float) -> dict[str, object]:
    return {
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "load": round(os.getloadavg()[0], 2),
        "durable_insert_ms": round(fsync_ms, 2),
    }


def write(path: Path, about: dict[str, object], figures: Sequence[Figure]) -> None:
    path.write_text(json.dumps({"machine": about, "figures": msgspec.to_builtins(list(figures))}, indent=1) + "\n")


def show(figures: Sequence[Figure]) -> None:
    table = Table(title="annals bench", caption="floor: the cheapest way to do the same, measured in this run")
    for column, justify in (
        ("figure", "left"),
        ("value", "right"),
        ("unit", "left"),
        ("floor", "right"),
        ("ratio", "right"),
        ("target", "right"),
        ("", "left"),
    ):
        table.add_column(column, justify=justify)  # type: ignore[arg-type]
    for f in figures:
        state = "" if f.met is None else ("met" if f.met else "missed")
        table.add_row(
            f.name,
            f"{f.value:g}",
            f.unit,
            "" if f.floor is None else f"{f.floor:g}",
            "" if f.ratio is None else f"{f.ratio:g}",
            "" if f.target is None else f"{f.target:g}",
            f"{state} {f.note}".strip(),
        )
    Console(width=160).print(table)

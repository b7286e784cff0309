"""The commands of docs/analytics.md do what the page says, on a running instance."""

import csv
import io
import json
import os
from pathlib import Path

import psycopg

from tests.api.pasting import ACTIVATED, paste, run, terminal
from tests.architecture.pages import blocks, commands, pages
from tests.architecture.source import ROOT
from tests.instance import AnnalsInstance, plain


def test_commands_of_the_page(annals_instance: AnnalsInstance, here: Path) -> None:
    parts = ['eval "$(annals env)"', *commands("docs/analytics.md")]

    _, plot, table, hours, failed, counted = paste(parts, here, terminal(annals_instance))

    assert "all" in plot
    assert list(next(csv.reader(io.StringIO(table))))[:2] == ["date", "status"]
    assert json.loads(hours)["groupBy"] == ["hour"]
    assert {row["status"] for row in json.loads(failed)["executions"]} <= {"failed"}
    assert "function_id" in counted


def test_sql_of_the_docs_runs_as_pasted(annals_instance: AnnalsInstance, here: Path) -> None:
    names = [path.relative_to(ROOT).as_posix() for path in pages()]
    examples = [block.text for name in names for block in blocks(name) if block.language == "sql"]
    environment = plain({"ANNALS_DATA": str(annals_instance.data), "PSQLRC": os.devnull})
    command = [f"{ACTIVATED}/annals", "psql", "--csv", "-v", "ON_ERROR_STOP=1"]

    answers = [run(command, example, here, environment) for example in examples]

    assert len(answers) >= 2
    headings = [answer.splitlines()[0].split(",") for answer in answers]
    assert ["function_id", "calls", "p95_ms"] in headings
    assert ["begins_at", "bytes"] in headings


def test_environment_names_the_database_for_other_tools(annals_instance: AnnalsInstance, here: Path) -> None:
    environment = plain({"ANNALS_DATA": str(annals_instance.data)})
    lines = run(["bash", "-eu"], 'eval "$(.venv/bin/annals env)"; env', here, environment).splitlines()
    (url,) = [line.removeprefix("DATABASE_URL=") for line in lines if line.startswith("DATABASE_URL=")]

    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT count(*) > 0 FROM events").fetchone() == (True,)

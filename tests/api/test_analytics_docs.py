"""The commands of docs/analytics.md do what the page says, on a running instance."""

import csv
import io
import json
from pathlib import Path

from tests.api.test_readme import BLOCK, here, run
from tests.house.source import ROOT
from tests.instance import AnnalsInstance, plain

__all__ = ["here"]


def test_the_commands_of_the_page(annals_instance: AnnalsInstance, here: Path) -> None:
    page = (ROOT / "docs" / "analytics.md").read_text()
    commands = [match[2] for match in BLOCK.finditer(page) if match[1] == "sh"]
    environment = plain({"ANNALS_DATA": str(annals_instance.data)})
    lines = run(["bash", "-eu"], 'eval "$(.venv/bin/annals env)"; env', here, environment).splitlines()
    environment |= dict(line.split("=", 1) for line in lines if line.startswith("APPWRITE_"))
    environment["PATH"] = f"{ROOT / '.venv' / 'bin'}:{environment['PATH']}"

    plot, table, hours, failed = (run(["bash", "-eu"], command, here, environment) for command in commands)

    assert "all" in plot
    assert list(next(csv.reader(io.StringIO(table))))[:2] == ["date", "status"]
    assert json.loads(hours)["groupBy"] == ["hour"]
    assert {row["status"] for row in json.loads(failed)["executions"]} <= {"failed"}

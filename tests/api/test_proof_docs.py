"""The commands of docs/proof.md do what the page says, on a running instance."""

import json
from pathlib import Path

from tests.api.test_readme import BLOCK, here, run
from tests.architecture.source import ROOT
from tests.instance import AnnalsInstance, annals, plain

__all__ = ["here"]


def test_commands_of_the_page(annals_instance: AnnalsInstance, here: Path) -> None:
    page = (ROOT / "docs" / "proof.md").read_text()
    commands = [match[2] for match in BLOCK.finditer(page) if match[1] == "sh"]
    environment = plain({"ANNALS_DATA": str(annals_instance.data), "PYTHONPATH": str(ROOT)})
    environment["PATH"] = f"{ROOT / '.venv' / 'bin'}:{environment['PATH']}"
    annals("projects", "create", "--id", "proof-docs", "--data", str(annals_instance.data))
    first = annals("export", "--output", str(here / "first.zst"), "--data", str(annals_instance.data))
    assert first.returncode == 0, first.stderr  # an export signs a checkpoint at once

    verified, signed, _, checked, _ = (run(["bash", "-eu"], command, here, environment) for command in commands)

    assert "The log is what was signed." in verified
    key, heading, *rows = signed.splitlines()
    assert key.startswith("annals/")
    assert heading.split() == ["SIZE", "POSITION", "SIGNED", "ROOT"]
    proof = json.loads((here / "proof.json").read_text())
    assert proof["position"] == 1
    assert rows[-1].split()[0] == str(proof["checkpoint"]["size"])
    assert "OK: every event of the log" in checked
    assert "OK: events of the log, each one as it was sealed" in checked
    assert (here / "backup.ndjson.zst").stat().st_mode & 0o777 == 0o600


def test_checkpoints_are_consistent(annals_instance: AnnalsInstance) -> None:
    data = ("--data", str(annals_instance.data))
    listed = json.loads(annals("proof", "checkpoints", "--json", *data).stdout)

    oldest = str(listed["checkpoints"][0]["size"])

    assert "begins with" in annals("proof", "consistency", oldest, *data).stdout
    assert annals("proof", "event", "999999", *data).returncode == 1

"""The commands of docs/proof.md do what the page says, on a running instance."""

import json
from pathlib import Path

from tests.api.pasting import paste, terminal
from tests.architecture.pages import commands
from tests.instance import AnnalsInstance, annals


def test_commands_of_the_page(annals_instance: AnnalsInstance, here: Path) -> None:
    annals("projects", "create", "--id", "proof-docs", "--data", str(annals_instance.data))
    first = annals("export", "--output", str(here / "first.zst"), "--data", str(annals_instance.data))
    assert first.returncode == 0, first.stderr  # an export signs a checkpoint at once

    verified, signed, _, checked, _, moved = paste(commands("docs/proof.md"), here, terminal(annals_instance))

    assert "The log is what was signed." in verified
    key, heading, *rows = signed.strip().splitlines()
    assert key.startswith("annals/")
    assert heading.split() == ["SIZE", "POSITION", "SIGNED", "ROOT"]
    proof = json.loads((here / "proof.json").read_text())
    assert proof["position"] == 1
    assert rows[-1].split()[0] == str(proof["checkpoint"]["size"])
    assert "OK: every event of the log" in checked
    assert "OK: events of the log, each one as it was sealed" in checked
    assert (here / "backup.ndjson.zst").stat().st_mode & 0o777 == 0o600
    assert (here / "moved.keys").stat().st_mode & 0o777 == 0o600
    assert "moved.keys" in moved


def test_checkpoints_are_consistent(annals_instance: AnnalsInstance) -> None:
    data = ("--data", str(annals_instance.data))
    listed = json.loads(annals("proof", "checkpoints", "--json", *data).stdout)

    oldest = str(listed["checkpoints"][0]["size"])

    assert "begins with" in annals("proof", "consistency", oldest, *data).stdout
    assert annals("proof", "event", "999999", *data).returncode == 1

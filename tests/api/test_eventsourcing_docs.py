"""The program of docs/eventsourcing.md does what the page says, on a running instance."""

from pathlib import Path

from tests.api.test_readme import ACTIVATED, BLOCK, here, run
from tests.architecture.source import ROOT
from tests.instance import instance_of_its_own, plain

__all__ = ["here"]


def test_program_of_the_page_follows_the_log_and_folds_a_stream(here: Path) -> None:
    page = (ROOT / "docs" / "eventsourcing.md").read_text()
    blocks = [(match[1], match[2]) for match in BLOCK.finditer(page)]
    (program,) = [text for language, text in blocks if language == "python"]
    (here / "counts.py").write_text(program)
    commands = "\necho; echo @@@\n".join(text for language, text in blocks if language == "sh")
    with instance_of_its_own() as instance:
        environment = plain({"ANNALS_DATA": str(instance.data), "PYTHONPATH": str(ROOT)})
        environment["PATH"] = f"{ACTIVATED}:{environment['PATH']}"

        printed = run(["bash", "-eu"], commands, here, environment)

    assert printed.split("@@@\n")[1].splitlines() == ["2 events", "Shop of horrors is at version 2"]

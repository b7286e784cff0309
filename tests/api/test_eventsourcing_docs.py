"""The program of docs/eventsourcing.md does what the page says, on a running instance."""

from pathlib import Path

from tests.api.pasting import paste, terminal
from tests.architecture.pages import blocks, commands
from tests.instance import instance_of_its_own


def test_program_of_the_page_follows_the_log_and_folds_a_stream(here: Path) -> None:
    (program,) = [block.text for block in blocks("docs/eventsourcing.md") if block.language == "python"]
    (here / "counts.py").write_text(program)
    with instance_of_its_own() as instance:
        _, printed = paste(commands("docs/eventsourcing.md"), here, terminal(instance))

    assert printed.strip().splitlines() == ["2 events", "Shop of horrors is at version 2"]

"""The output and errors of commands without a running instance."""

import json
import re
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import click
import pytest
from click.testing import CliRunner

from annals.app.identity.secret_keys import make_key
from annals.cli.doctor import durability
from annals.cli.events import as_text
from annals.cli.main import COMMANDS, main
from annals.cli.options import table
from annals.cli.projects import checked_id
from annals.cli.ps import Row, merged, uptime
from annals.cli.up import welcome
from annals.cli.verify import as_text as verdict_text
from annals.domain.commands.projects import create_project
from annals.domain.project import Project
from annals.http.listening import Unavailable, listen
from annals.store.coordination.leases import Holder
from annals.store.log.reader import RecordedEvent
from annals.store.proof.notes import signing_key
from annals.store.proof.seal_check import Fault
from annals.store.proof.verification import MOST_FAULTS, Verdict
from annals.supervisor.folders import Folders, InUse
from annals.supervisor.launch import closed_ancestor
from annals.supervisor.supervisor import StartedInstance

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
MODEL = """
from annals.projections.own_models import ReadModel

class Nothing(ReadModel):
    columns = {"a": "int"}

    def apply(self, fact):
        pass

    def rows(self):
        return []
"""


def run(*arguments: str, **environment: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, [*arguments], env={"ANNALS_DATABASE_URL": None, **environment})
    return result.exit_code, result.output


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_and_an_answer_for_scripts(name: str) -> None:
    code, text = run(name, "--help")

    assert code == 0
    if "Commands:" not in text:
        assert "--json" in text


@pytest.mark.parametrize(
    ("command", "module", "left"),
    [
        (["replay"], "replay", "each live read model is whole"),
        (["replay", "--check"], "replay", "each live read model is whole"),
        (["replay", "--model", "{file}"], "replay", "nothing was kept"),
        (["import", "{file}"], "load", "`annals replay`"),
        (["restore", "{file}"], "load", "`annals replay`"),
    ],
)
def test_interrupted_command_reports_its_partial_result(
    command: list[str], module: str, left: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(f"annals.cli.{module}.with_log", interrupted)
    file = tmp_path / "model.py"
    file.write_text(MODEL)

    words = [word.format(file=file) for word in command]
    code, text = run(*words, ANNALS_DATABASE_URL="postgresql://nobody@localhost/nothing")

    assert (code, left in text) == (130, True), text


def test_command_without_an_instance_names_the_next_step(tmp_path: Path) -> None:
    for command in (
        ["ps"],
        ["events"],
        ["projects", "list"],
        ["keys", "list", "--project", "p"],
        ["replay", "--check"],
    ):
        code, text = run(*command, "--data", str(tmp_path))

        assert code == 1
        assert "annals up" in text


def test_unknown_setting_is_refused_by_every_command(tmp_path: Path) -> None:
    code, text = run("ps", "--data", str(tmp_path), ANNALS_PROT="1")

    assert code == 1
    assert "Did you mean ANNALS_PORT?" in text


def test_settings_are_listed_without_passwords() -> None:
    code, text = run("settings", "--json", ANNALS_DATABASE_URL="postgresql://me:secret@db/annals", ANNALS_PORT="9000")
    rows = {row["name"]: row for row in json.loads(text)["settings"]}

    assert code == 0
    assert rows["ANNALS_PORT"]["value"] == "9000"
    assert rows["ANNALS_DATABASE_URL"]["value"] == "postgresql://…@db/annals"


def test_key_shows_its_secret_once_and_keeps_a_digest() -> None:
    one, other = make_key("k", ["functions.read"]), make_key("k", ["functions.read"])

    assert re.fullmatch(r"standard_[0-9a-f]{64}", one.secret)
    assert one.secret != other.secret
    assert one.secret not in str(one.key)


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ("--type=functions.updated", ["There are no events functions.updated. Known are ", "execution, function,"]),
        ("--type=function.renamed", ["There are no events function.renamed. Known of function are function.created,"]),
        ("--resource=variable:x", ["There is no kind of resource variable. Known are ", "execution, function,"]),
        ("--resource=function:", ["There is no id behind the colon."]),
    ],
)
def test_unknown_event_filter_lists_the_known_ones(option: str, says: list[str]) -> None:
    code, text = run("events", option)

    assert code == 2
    output = " ".join(text.split())
    assert [sentence for sentence in says if sentence not in output] == []


def test_invalid_scopes_and_times_fail_before_the_database_is_opened(tmp_path: Path) -> None:
    for options, says in (
        ([], "at least one --scope"),
        (["--scope", "functions.rea"], "no scope functions.rea"),
        (["--scope", "functions.read", "--expires", "tomorrow"], "is no time"),
    ):
        code, text = run("keys", "create", "--project", "p", "--data", str(tmp_path), *options)

        assert code == 1
        assert says in text


@pytest.mark.parametrize("value", ["a:b", "", "-a", ".a", "x" * 37, "a b", "ä"])
def test_id_with_invalid_characters_is_refused(value: str) -> None:
    with pytest.raises(click.ClickException):
        checked_id(value)


def test_event_is_shown_in_one_line_without_digests() -> None:
    (project,) = create_project(None, project_id="p", name="Shop", keys=[make_key("first", ["functions.read"]).key])
    created, added = cast(list[Project.Event], project.collect_events())
    created.metadata.update(actor="cli:me")

    assert as_text(RecordedEvent(1, NOW, "p", created)).split() == [
        *("1", "2026-01-31", "12:00:00.000", "project", "p", "\x1b[1mcreated", "\x1b[0m", "cli:me", "name=Shop")
    ]
    assert "digest" not in as_text(RecordedEvent(2, NOW, "p", added))


def test_ps_shows_other_hosts_and_hides_dead_local_processes() -> None:
    own = Row(role="worker1", pid=10, host="here", started_at=NOW.isoformat(), state="ready", restarts=0, doing="")

    def holder(host: str, pid: int, doing: str) -> Holder:
        return Holder(f"{host}-{pid}", "worker", host, pid, 1, doing, NOW)

    rows = merged(
        [own], [holder("here", 10, "1 builds"), holder("here", 2**22 + 1, ""), holder("there", 7, "idle")], "here"
    )

    assert [(row.host, row.pid, row.doing) for row in rows] == [("here", 10, "1 builds"), ("there", 7, "idle")]


@pytest.mark.parametrize(
    ("passed", "text"),
    [
        (timedelta(seconds=8), "8 s"),
        (timedelta(minutes=12, seconds=3), "12 min 3 s"),
        (timedelta(hours=4, minutes=5), "4 h 5 min"),
        (timedelta(days=3, hours=4), "3 d 4 h"),
    ],
)
def test_uptime_shows_the_two_largest_units(passed: timedelta, text: str) -> None:
    assert uptime(passed) == text


def test_table_is_as_wide_as_its_widest_cell() -> None:
    assert table([{"id": "a", "name": "long name"}, {"id": "bcd", "name": ""}], ("id", "name")) == (
        "ID   NAME\na    long name\nbcd"
    )


def test_weak_durability_is_named_with_the_next_step() -> None:
    assert durability({"fsync": "on", "synchronous_commit": "local", "full_page_writes": "on"}).ok
    weak = durability({"fsync": "off", "synchronous_commit": "off", "full_page_writes": "on"})
    assert not weak.ok
    assert "fsync, synchronous_commit" in weak.fix


def test_port_in_use_is_reported_as_a_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(Unavailable, match=f"Port {port} on 127.0.0.1 is taken"):
            listen("127.0.0.1", port)
        with pytest.raises(Unavailable, match="ANNALS_FACADE_LISTEN"):
            listen("127.0.0.1", port, options="ANNALS_FACADE_LISTEN")
    with pytest.raises(Unavailable, match="--host"):
        listen("no.such.host.invalid", 0)


def test_data_folder_is_locked_by_one_supervisor(tmp_path: Path) -> None:
    folders = Folders(tmp_path / "data")
    folders.open()
    assert not folders.locked()

    folders.lock()

    assert folders.locked()
    with pytest.raises(InUse, match="already runs"):
        Folders(tmp_path / "data").lock()
    assert folders.running() is None
    folders.clear()
    assert not folders.sockets.exists()


def test_socket_paths_are_short_for_any_data_folder() -> None:
    folders = Folders(Path("/", *["long" * 10] * 20))

    assert len(str(folders.sockets / "own" / "executor.sock")) < 100


def test_topmost_closed_folder_is_found(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    closed = tmp_path / "closed"
    deep = closed / "a" / "b"
    deep.mkdir(parents=True)
    closed.chmod(0o700)
    reachable = all(path.stat().st_mode & 1 for path in closed.parents)

    assert closed_ancestor(str(deep), 61_000) == (str(closed) if reachable else closed_ancestor(str(closed), 61_000))
    closed.chmod(0o711)
    (closed / "a").chmod(0o755)
    assert not reachable or closed_ancestor(str(deep), 61_000) is None


def test_welcome_text_can_be_pasted() -> None:
    text = welcome(
        StartedInstance(
            endpoint="http://127.0.0.1:1/v1",
            project="p",
            key="k",
            data="/d",
            driver="sandbox",
            database_url="postgresql:",
        )
    )

    snippet = text[text.index("from appwrite") : text.index("Ctrl-C")]
    compile(snippet, "snippet", "exec")
    assert "\ncurl -H 'X-Appwrite-Project: p' -H 'X-Appwrite-Key: k' http://127.0.0.1:1/v1/functions\n" in text


def test_truncated_log_is_reported_in_one_line(tmp_path: Path) -> None:
    cut = [Fault("removed", position, "a sealed event is gone") for position in range(4, 2 * MOST_FAULTS, 2)]
    swapped = Fault("swapped", 2, "it stands in the place of position 3, and back")
    verdict = Verdict(
        ok=False, events=3, proven_position=1, checkpoints=1, outside_checkpoints=1, unsealed=0, seconds=0.1,
        faults=[swapped, *cut, Fault("forged", 1, "signed by another key", 9)],
    )  # fmt: skip

    lines = verdict_text(verdict, signing_key(tmp_path / "seal.key").verifier).splitlines()[5:]

    assert lines == [
        "SWAPPED at position 2: it stands in the place of position 3, and back",
        "REMOVED at position 4 and 97 more, the last at 198: a sealed event is gone",
        "FORGED at position 1 to 9: signed by another key",
        "These are the first 100; there may be more behind them.",
    ]

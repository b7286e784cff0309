"""The commands of docs/time-travel.md do what the page says, on a running instance."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.pasting import objects, paste, terminal
from tests.architecture.pages import blocks, commands
from tests.instance import AnnalsInstance, annals, instance_of_its_own

TOPICS = """
from collections import Counter
from annals.projections.own_models import ReadModel

class Topics(ReadModel):
    columns = {"topic": "text", "events": "bigint"}

    def __init__(self):
        self.counted = Counter()

    def apply(self, recorded_event):
        self.counted[type(recorded_event.event).TOPIC] += 1

    def rows(self):
        return sorted(self.counted.items())
"""


@pytest.fixture
def fresh() -> Iterator[AnnalsInstance]:
    """Run an empty instance, as the reader has."""
    with instance_of_its_own() as instance:
        yield instance


def test_walk_of_the_page(fresh: AnnalsInstance, here: Path) -> None:
    (model,) = [block.text for block in blocks("docs/time-travel.md") if block.language == "python"]
    (here / "changes.py").write_text(model)

    printed = paste(commands("docs/time-travel.md"), here, terminal(fresh))

    assert "hunter2" not in "".join(printed)
    _, then, history, events, feed, diff, revert, restored, changed = printed
    as_of, listed = objects(then)
    assert (as_of["name"], as_of["timeout"], as_of["vars"]) == ("Shop", 10, [])
    assert "shop" in [function["$id"] for function in listed["functions"]]
    assert "timeout: 10 → 900" in history
    assert "by key " in history
    assert [event["type"] for event in objects(events)[-1]["events"]] == [
        *("function.created", "function.variable_added", "function.updated"),
    ]
    assert "event: function.updated" in feed
    tree = objects(feed)[-1]
    assert [node["event"]["type"] for node in tree["events"]] == ["function.created"]
    changes = objects(diff)[0]["changes"]
    assert {change["field"]: change["to"] for change in changes}["name"] == "Shop of horrors"
    dry_run, done = objects(revert)
    assert [event["type"] for event in dry_run["events"]] == ["function.variable_removed", "function.updated"]
    assert (done["name"], done["timeout"], done["vars"]) == ("Shop", 10, [])
    assert objects(restored)[-1]["name"] == "Shop"
    rows = objects(changed)[0]["rows"]
    assert sum(row["changes"] for row in rows if row["setting"] == "timeout") == 2  # by the update and by its revert
    assert {row["setting"] for row in rows} == {"name", "timeout"}
    assert "rows in models.changes" in changed


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["history", "function:nothing"], "Nothing ever happened to function:nothing in project default."),
        (["history", "functions:x"], "is none of function, deployment, execution, project, user, team"),
        (["history", "project:x"], "Nothing ever happened to project:x in project x."),
        (["events", "--project", "nope"], "There never was a project nope."),
        (["usage", "--project", "nope"], "There never was a project nope."),
        (["replay", "--model", "missing.py"], "There is no file missing.py."),
        (["replay", "--model", "missing.py:Name", "--csv"], "There is no file missing.py."),
    ],
)
def test_impossible_command_is_an_error_message(
    annals_instance: AnnalsInstance, arguments: list[str], sentence: str
) -> None:
    ended = annals(*arguments, "--data", str(annals_instance.data))

    assert ended.returncode == 1
    assert sentence in ended.stderr


def test_fold_accepts_times_and_positions_and_prints_json_or_csv(
    annals_instance: AnnalsInstance, tmp_path: Path
) -> None:
    (tmp_path / "topics.py").write_text(TOPICS)
    fold = ("replay", "--model", str(tmp_path / "topics.py"), "--data", str(annals_instance.data))

    first = json.loads(annals(*fold, "--until", "1", "--json").stdout)
    assert first == {"position": 1, "rows": [{"topic": "project.created", "events": 1}]}
    assert annals(*fold, "--until", "1", "--csv").stdout == "topic,events\nproject.created,1\n"
    assert json.loads(annals(*fold, "--since", "2999-01-01T00:00:00Z", "--json").stdout)["rows"] == []
    wrong = annals(*fold, "--since", "yesterday")
    assert (wrong.returncode, "--since takes a position of the log or an RFC 3339 time" in wrong.stderr) == (1, True)

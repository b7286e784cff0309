"""Read models that users write: folded over the log, within bounds, and stored in tables."""

import asyncio
from pathlib import Path
from typing import Any, ClassVar

import pytest

from annals.projections import own_models
from annals.projections.own_models import FoldBounds, ModelInvalid, ReadModel, RecordedEvent, Stopped, fold, keep, load
from tests.integration.projections.history import History

EXAMPLE = """
from annals.projections.own_models import RecordedEvent, ReadModel

class Ended(ReadModel):
    columns = {"topic": "text", "events": "bigint"}
    topics = ("execution.completed", "execution.failed")

    def __init__(self):
        self.events = {}

    def apply(self, recorded_event: RecordedEvent) -> None:
        topic = type(recorded_event.event).TOPIC
        self.events[topic] = self.events.get(topic, 0) + 1

    def rows(self):
        return sorted(self.events.items())
"""


class Positions(ReadModel):
    columns: ClassVar[dict[str, str]] = {"position": "bigint"}

    def __init__(self) -> None:
        self.seen: list[int] = []

    def apply(self, recorded_event: RecordedEvent) -> None:
        self.seen.append(recorded_event.position)

    def rows(self) -> list[tuple[int]]:
        return [(position,) for position in self.seen]


async def work(history: History) -> int:
    await history.function()
    await history.deploy("d1")
    for number in range(20):
        await history.run(f"e{number}")
    return await history.log.reader.position()


def file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "model.py"
    path.write_text(text)
    return path


async def test_model_from_a_file_gets_the_events_of_its_topics(history: History, tmp_path: Path) -> None:
    end = await work(history)

    folded = await fold(history.log.reader, load(file(tmp_path, EXAMPLE)), FoldBounds(0, end))

    assert folded.rows == [("execution.completed", 20)]
    assert folded.events == 20


async def test_model_gets_every_event_within_bounds_once_in_order(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    end = await work(history)
    monkeypatch.setattr(own_models, "BATCH", 7)
    everything = [recorded_event.position for recorded_event in await history.log.reader.after(0, 1000)]

    assert [p for (p,) in (await fold(history.log.reader, Positions(), FoldBounds(0, end))).rows] == everything
    some = await fold(history.log.reader, Positions(), FoldBounds(everything[4], everything[30]))
    assert [p for (p,) in some.rows] == everything[5:31]
    assert (await fold(history.log.reader, Positions(), FoldBounds(0, end, project="other"))).rows == []


async def test_stored_rows_replace_the_former_rows(history: History, tmp_path: Path) -> None:
    end = await work(history)
    model = load(file(tmp_path, EXAMPLE), "Ended")
    for _ in range(2):
        await keep(history.database, "ended", model, await fold(history.log.reader, model, FoldBounds(0, end)))

    assert await history.database.rows("SELECT * FROM models.ended") == [{"topic": "execution.completed", "events": 40}]
    comment = await history.database.value("SELECT obj_description('models.ended'::regclass)")
    assert comment == f"Ended at position {end}, 20 events"
    with pytest.raises(ModelInvalid, match="not a table name"):
        await keep(history.database, 'x"; DROP', model, await fold(history.log.reader, model, FoldBounds(0, end)))


async def test_failing_model_names_the_event(history: History) -> None:
    end = await work(history)

    class Broken(Positions):
        def apply(self, recorded_event: RecordedEvent) -> None:
            super().apply(recorded_event)
            if len(self.seen) == 3:
                raise KeyError("agent")

    third = (await history.log.reader.after(0, 3))[2].position
    with pytest.raises(ModelInvalid, match=rf"position {third} \(function\.\w+\): KeyError"):
        await fold(history.log.reader, Broken(), FoldBounds(0, end))


@pytest.mark.parametrize(("bounds", "sentence"), [({"seconds": 0.0}, "--seconds"), ({"megabytes": 1}, "--memory")])
async def test_fold_stops_at_its_bounds(history: History, bounds: dict[str, Any], sentence: str) -> None:
    end = await work(history)
    with pytest.raises(Stopped, match=sentence):
        await fold(history.log.reader, Positions(), FoldBounds(0, end, **bounds))


async def test_fold_can_be_cancelled_between_batches(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    end = await work(history)
    monkeypatch.setattr(own_models, "BATCH", 2)
    model = Positions()

    def report(_position: int, _events: int) -> None:
        task.cancel()

    task = asyncio.ensure_future(fold(history.log.reader, model, FoldBounds(0, end), report))

    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(model.seen) < 6


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("x = 1", "defines no class"),
        ("import nothing_like_that", "does not load: ModuleNotFoundError"),
        (EXAMPLE + EXAMPLE.replace("Ended", "Other"), "defines 2 read models"),
        (EXAMPLE.replace("columns =", "names ="), "needs `columns`"),
        (EXAMPLE.replace("bigint", "bigint; DROP TABLE events"), "Postgres rejects"),
        (EXAMPLE.replace("self.events = {}", "raise OSError"), "cannot be created: OSError"),
    ],
    ids=["nothing", "broken", "several", "no columns", "wrong type", "fails"],
)
def test_file_without_a_usable_model_is_an_error(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(ModelInvalid, match=sentence):
        load(file(tmp_path, text))


def test_unknown_model_or_file_is_an_error_that_lists_the_models(tmp_path: Path) -> None:
    with pytest.raises(ModelInvalid, match=r"no read model Other; it defines Ended"):
        load(file(tmp_path, EXAMPLE), "Other")
    with pytest.raises(ModelInvalid, match=r"There is no file .*missing\.py"):
        load(tmp_path / "missing.py")
    (tmp_path / "model.txt").write_text(EXAMPLE)
    with pytest.raises(ModelInvalid, match="is not a Python file"):
        load(tmp_path / "model.txt")


async def test_rows_without_a_value_for_each_column_are_an_error(history: History) -> None:
    class Short(Positions):
        columns: ClassVar[dict[str, str]] = {"position": "bigint", "more": "text"}

    with pytest.raises(ModelInvalid, match="position, more"):
        await fold(history.log.reader, Short(), FoldBounds(0, await work(history)))

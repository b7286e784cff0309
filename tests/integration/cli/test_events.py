"""The commands `annals events` and `annals history` on a log."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
from click.testing import CliRunner, Result

from annals.app.history.schemas import EventModel
from annals.app.wire import fields_of
from annals.cli.event_log import opened
from annals.cli.main import main
from annals.domain.function import Function
from annals.domain.variables import Variable
from annals.settings import Settings
from annals.store.log.log import EventLog
from annals.store.secrets.vault import Vault, master_key
from tests.integration.conftest import database_url, postgres
from tests.integration.projections.history import META, F, History, P

__all__ = ["database_url", "postgres"]

T = TypeVar("T")


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    settings = Settings(data=tmp_path, database_url=database_url)

    async def fill(log: EventLog) -> None:
        history = History(log, log.database)
        await history.project()
        await history.function()
        for number in range(3):
            await history.update(name=f"n{number}")

    on_log(settings, fill)
    return settings


def on_log(settings: Settings, work: Callable[[EventLog], Awaitable[T]]) -> T:
    async def go() -> T:
        async with opened(settings) as log:
            return await work(log)

    return asyncio.run(go())


def environment(settings: Settings) -> dict[str, str]:
    return {"ANNALS_DATABASE_URL": settings.database_url, "ANNALS_DATA": str(settings.data)}


def run(settings: Settings, *arguments: str) -> Result:
    return CliRunner().invoke(main, arguments, env=environment(settings))


def objects(result: Result) -> list[dict[str, Any]]:
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def positions(settings: Settings, *arguments: str) -> list[int]:
    return [event["position"] for event in objects(run(settings, "events", "--json", *arguments))]


def test_events_begin_at_a_position_or_with_the_newest(settings: Settings) -> None:
    everything = positions(settings)

    assert everything == sorted(everything)
    assert positions(settings, "--from", str(everything[2])) == everything[2:]
    assert positions(settings, "--last", "2") == everything[-2:]
    assert positions(settings, "--last", "9999") == everything
    assert positions(settings, "--last", "1", "--type", "function.created") == [everything[2]]
    assert positions(settings, "--last", "1", "--resource", "execution") == []
    assert positions(settings, "--from", str(everything[-1] + 1)) == []
    for refused in (("--from", "999"), ("--from", "1", "--last", "1"), ("--last", "0"), ("--from", "0")):
        assert run(settings, "events", *refused).exit_code > 0


def test_newest_events_are_found_beyond_one_span_of_the_log(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("annals.cli.events.BATCH", 1)
    everything = positions(settings)

    assert positions(settings, "--last", "1", "--type", "project.created") == everything[:1]
    assert positions(settings, "--last", "3") == everything[-3:]


def test_following_starts_with_new_events(settings: Settings) -> None:
    former = positions(settings)

    async def until_shown(log: EventLog) -> dict[str, Any]:
        history = History(log, log.database)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "annals", "events", "--follow", "--json"),
            env={**os.environ, **environment(settings)},
            stdout=subprocess.PIPE,
        )
        assert process.stdout is not None
        line = asyncio.ensure_future(process.stdout.readline())
        try:
            async with asyncio.timeout(60):
                number = 0
                while not line.done():  # the command begins at the newest event of some moment in this loop
                    number += 1
                    await history.update(name=f"later{number}")
                    await asyncio.wait({line}, timeout=0.2)
            shown: dict[str, Any] = json.loads(await line)
            return shown
        finally:
            line.cancel()
            process.kill()
            await process.wait()

    shown = on_log(settings, until_shown)

    assert shown["position"] > former[-1]


def test_events_and_history_show_an_event_in_the_shape_of_the_http_api(settings: Settings) -> None:
    fields = set(fields_of(EventModel).values())

    of_log = objects(run(settings, "events", "--json", "--resource", f"function:{F}"))
    of_function = objects(run(settings, "history", f"function:{F}", "--project", P, "--json"))

    assert len(of_log) == 4
    for event, same in zip(of_log, of_function, strict=True):
        assert set(event) == fields - {"changes"}
        assert {name: same[name] for name in event} == event
        assert set(same) == fields
    assert of_log[0]["projectId"] == P


def test_history_shows_values_that_are_not_secret(settings: Settings) -> None:
    async def fill(log: EventLog) -> None:
        vault, stream = Vault(log.database, master_key(settings.master_key)), Function.stream(P, F)

        async def variable(name: str, value: str, secret: bool) -> Variable:
            sealed, fingerprint = await vault.seal(P, stream, name, value), await vault.fingerprint(P, value)
            return Variable(variable_id=name, key=name, sealed=sealed, secret=secret, fingerprint=fingerprint)

        for name, secret in (("open", False), ("hidden", True)):
            made = await variable(name, "first", secret)
            await log.run(Function.add_variable, Function.key(P, F), meta=META, variable=made)
            again = await variable(name, "second", secret)
            await log.run(
                Function.change_variable, Function.key(P, F), meta=META, variable_id=name, key=None,
                sealed=(again.sealed, again.fingerprint), secret=None,
            )  # fmt: skip

    on_log(settings, fill)

    shown = run(settings, "history", f"function:{F}", "--project", P)
    assert "variables.open.value: first → second" in shown.output
    hidden = [line for line in shown.output.splitlines() if "hidden.value" in line]
    assert [line.count("fingerprint:") for line in hidden] == [1, 2]
    settings.master_key.unlink()
    without = run(settings, "history", f"function:{F}", "--project", P)
    assert without.exit_code == 0
    assert "second" not in without.output
    assert not settings.master_key.exists()

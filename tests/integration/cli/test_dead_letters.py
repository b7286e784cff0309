"""The commands that list and redrive dead letters."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import pytest
from click.testing import CliRunner

from annals.cli.event_log import opened
from annals.cli.main import main
from annals.domain.execution import CallRequest, Execution
from annals.domain.policy import Retries
from annals.settings import Settings
from annals.store.content.inputs import KIND, Input, digest_and_size, open_input, seal_input
from annals.store.log.log import EventLog
from annals.store.secrets.vault import Vault, master_key
from tests.integration.conftest import database_url, postgres
from tests.integration.projections.history import META, History, P

__all__ = ["database_url", "postgres"]

T = TypeVar("T")

ONCE_MORE = Retries(attempts=2, backoff_seconds=1)


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    return Settings(data=tmp_path, database_url=database_url)


def run(settings: Settings, *arguments: str) -> tuple[int, str]:
    environment = {"ANNALS_DATABASE_URL": settings.database_url, "ANNALS_DATA": str(settings.data)}
    result = CliRunner().invoke(main, ["dead-letters", *arguments, "--project", P], env=environment)
    return result.exit_code, result.output


def answered(settings: Settings, *arguments: str) -> Any:
    return json.loads(run(settings, *arguments, "--json")[1])


def on_log(settings: Settings, work: Callable[[EventLog, Vault], Awaitable[T]]) -> T:
    async def go() -> T:
        async with opened(settings) as log:
            return await work(log, Vault(log.database, master_key(settings.master_key)))

    return asyncio.run(go())


async def dead(log: EventLog, vault: Vault, history: History, function_id: str, execution_id: str) -> None:
    """Record an accepted call whose two attempts failed."""
    stream, key = Execution.stream(P, execution_id), Execution.key(P, execution_id)
    content = await seal_input(vault, P, stream, Input(body=f"for {execution_id}".encode()))
    digest, size = digest_and_size(content)
    await log.run(
        Execution.request_run,
        Execution.absent(P, execution_id),
        meta=META,
        contents=[content],
        project_id=P,
        function_id=function_id,
        function_incarnation=history.incarnations[function_id],
        function_version=1,
        execution_id=execution_id,
        deployment_id=f"{function_id}-d",
        trigger="http",
        request=CallRequest(method="POST", path="/\x1b[2Jpay", input_digest=digest, input_size=size),
        retries=ONCE_MORE,
    )
    for epoch in (1, 2):
        await log.run(Execution.claim, key, meta=META, worker="w")
        execution: Execution = await log.load(key)
        execution.fail(epoch, "timeout", "Late.", now=datetime.now(UTC), status_code=500)
        await log.record([execution], meta=META)


@pytest.fixture
def letters(settings: Settings) -> dict[str, list[str]]:
    """Two functions with a deployment, and one whose deployment is gone, with dead letters of each."""
    ids = {"f": ["f1", "f2"], "g": ["g1"], "bare": ["b1"]}

    async def work(log: EventLog, vault: Vault) -> None:
        history = History(log, log.database)
        await history.project()
        for function_id, own in ids.items():
            await history.function(function_id)
            if function_id != "bare":
                await history.deploy(f"{function_id}-d", function_id)
            for execution_id in own:
                await dead(log, vault, history, function_id, execution_id)

    on_log(settings, work)
    return ids


def test_dead_letters_are_listed_of_all_functions_or_of_one(settings: Settings, letters: dict[str, list[str]]) -> None:
    everything = answered(settings, "list")

    assert [one["$id"] for one in everything["deadLetters"]] == ["f1", "f2", "g1", "b1"]
    assert (everything["total"], everything["deadLetters"][0]["reason"]) == (4, "timeout")
    assert [one["$id"] for one in answered(settings, "list", "--function", "g")["deadLetters"]] == ["g1"]
    code, text = run(settings, "list", "--limit", "1")
    assert (code, "f1" in text, "g1" in text, "3 more" in text) == (0, True, False, True)
    assert ("\x1b" in text, "/\\x1b[2Jpay" in text) == (False, True)


def test_named_dead_letters_are_redriven_with_their_input(settings: Settings, letters: dict[str, list[str]]) -> None:
    code, text = run(settings, "redrive", "f2", "g1", "f2", "--json")
    done = json.loads(text)

    assert (code, [one["deadLetterId"] for one in done["redriven"]], done["refused"]) == (0, ["f2", "g1"], [])
    assert [one["$id"] for one in answered(settings, "list")["deadLetters"]] == ["f1", "b1"]
    again = done["redriven"][0]["executionId"]

    async def given(log: EventLog, vault: Vault) -> tuple[Execution, bytes, str]:
        stream = Execution.stream(P, again)
        sealed = await log.contents.read(stream, KIND)
        made: Execution = await log.load(Execution.key(P, again))
        [first, *_] = await log.reader.of_stream(stream, after=0, limit=1)
        return made, (await open_input(vault, P, stream, sealed)).body, first.event.metadata["actor"]

    made, body, actor = on_log(settings, given)
    assert (made.status, made.redrives, made.deployment_id, body) == ("waiting", "f2", "f-d", b"for f2")
    assert actor.startswith("cli")


def test_redriving_all_skips_those_that_cannot_run(settings: Settings, letters: dict[str, list[str]]) -> None:
    code, text = run(settings, "redrive", "--all", "--json")
    done = json.loads(text)

    assert (code, [one["deadLetterId"] for one in done["redriven"]]) == (1, ["f1", "f2", "g1"])
    [refused] = done["refused"]
    assert (refused["deadLetterId"], "no deployment to run it" in refused["message"]) == ("b1", True)
    assert answered(settings, "list")["total"] == 1
    assert run(settings, "redrive", "--all", "--function", "f") == (0, "There is nothing to redrive.\n")


def test_unknown_dead_letter_is_reported(settings: Settings, letters: dict[str, list[str]]) -> None:
    for elsewhere in (["nothing"], ["f1", "--function", "g"]):
        code, text = run(settings, "redrive", *elsewhere)
        assert (code, "no such dead letter" in text) == (1, True)
    assert answered(settings, "list")["total"] == 4


@pytest.mark.parametrize("arguments", [[], ["f1", "--all"]])
def test_redriving_needs_names_or_all(settings: Settings, arguments: list[str]) -> None:
    code, text = run(settings, "redrive", *arguments)

    assert (code, "--all" in text) == (1, True)

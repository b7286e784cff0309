"""`annals dead-letters`: executions that were given up, of all functions of a project, listed and run again."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import click
import msgspec

from annals.app.dead_letters.schemas import DeadLetterModel, RedrivenModel, present
from annals.application.executions.context import Environments
from annals.application.executions.redrive import Redriver
from annals.cli.event_log import actor, known_function, known_project, with_log
from annals.cli.options import answer, instance_options, of_instance, table
from annals.domain.environment import InstanceInfo
from annals.domain.errors import DeadLetterNotFound, DomainError
from annals.domain.version import API_VERSION
from annals.settings import Settings
from annals.store.errors import StoreError, StoreUnavailable
from annals.store.log.log import EventLog
from annals.store.postgres import sql
from annals.store.postgres.database import Row
from annals.store.secrets.vault import Vault
from annals.telemetry.log_text import printable

QUERIES = sql.load(__package__, "dead_letters.sql")
PAGE = 100

project_option = click.option("--project", default="default", show_default=True, help="Whose dead letters.")
function_option = click.option("--function", "function_id", default="", help="Only those of this function.")


class RefusedDeadLetter(msgspec.Struct, rename="camel", kw_only=True):
    """A dead letter that stays one, and why."""

    dead_letter_id: str
    message: str


class RedriveOutcome(msgspec.Struct, kw_only=True):
    """What one command redrove, and what it could not."""

    redriven: list[RedrivenModel]
    refused: list[RefusedDeadLetter]


@click.group("dead-letters")
def dead_letters() -> None:
    """List executions that were given up, and run them again."""


@dead_letters.command("list")
@project_option
@function_option
@click.option("--limit", default=PAGE, show_default=True, type=click.IntRange(1, 10_000), help="Most of them to show.")
@instance_options
def list_letters(*, project: str, function_id: str, limit: int, data: Path | None, as_json: bool) -> None:
    """List dead letters, oldest first."""
    wanted = {"project": project, "function": function_id}

    async def work(log: EventLog) -> tuple[list[Row], int]:
        await known_project(log, project)
        await known_function(log, project, function_id)
        rows = await log.database.rows(QUERIES["letters"], {**wanted, "after": 0, "ids": None, "limit": limit})
        [counted] = await log.database.rows(QUERIES["total"], wanted)
        return rows, counted["total"]

    rows, total = with_log(of_instance(data), work)
    letters = [present(row) for row in rows]
    answer({"deadLetters": letters, "total": total}, as_json, lambda: _text(letters, total))


@dead_letters.command()
@click.argument("ids", metavar="[ID]...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Redrive all there are, instead of those named.")
@project_option
@function_option
@instance_options
def redrive(*, ids: tuple[str, ...], everything: bool, data: Path | None, as_json: bool, **where: str) -> None:
    """Run dead letters again, each as an execution of its own: of today's code and policy, with the same input.

    Ends with 1 when one of them has to stay a dead letter; the others are redriven all the same.
    """
    if bool(ids) == everything:
        raise click.ClickException("Name the dead letters to redrive, or say --all.")
    settings = of_instance(data)

    async def work(log: EventLog) -> RedriveOutcome:
        await known_project(log, where["project"])
        await known_function(log, where["project"], where["function_id"])
        return await _redrive(log, settings, where["project"], where["function_id"], list(dict.fromkeys(ids)))

    done = with_log(settings, work)
    answer(done, as_json, lambda: _outcome_text(done))
    if done.refused:
        raise click.exceptions.Exit(1)


async def _redrive(log: EventLog, settings: Settings, project: str, function_id: str, ids: list[str]) -> RedriveOutcome:
    """Redrive the named dead letters, or all without names; skip those that another caller redrove meanwhile."""
    vault = await Vault.of(log.database, settings.master_key)
    platform = InstanceInfo(endpoint=settings.functions_endpoint, version=API_VERSION, region=settings.region)
    redriver = Redriver(log, vault, Environments(log.database, vault, platform), project_id=project)
    done, missing = RedriveOutcome(redriven=[], refused=[]), set(ids)
    async for row in _letters(log, {"project": project, "function": function_id, "ids": ids or None}):
        own_id = row["execution_id"]
        try:
            redriven_as, _ = await redriver.redrive(
                own_id, function_id=row["function_id"], incarnation=row["function_sequence"], meta=actor()
            )
            done.redriven.append(RedrivenModel(dead_letter_id=own_id, execution_id=redriven_as))
        except StoreUnavailable:
            raise
        except (DomainError, StoreError) as error:
            if ids or not isinstance(error, DeadLetterNotFound):
                done.refused.append(RefusedDeadLetter(dead_letter_id=own_id, message=str(error)))
        missing.discard(own_id)
    done.refused += [
        RefusedDeadLetter(dead_letter_id=own_id, message=str(DeadLetterNotFound()))
        for own_id in ids
        if own_id in missing
    ]
    return done


async def _letters(log: EventLog, wanted: dict[str, Any]) -> AsyncIterator[Row]:
    """Yield all dead letters page by page, each of them once."""
    after = 0
    while rows := await log.database.rows(QUERIES["letters"], {**wanted, "after": after, "limit": PAGE}):
        for row in rows:
            yield row
        after = rows[-1]["sequence"]


def _text(letters: list[DeadLetterModel], total: int) -> str:
    rows: list[dict[str, object]] = [
        {
            "id": letter.id,
            "function": letter.function_id,
            "since": letter.updated_at,
            "reason": letter.reason,
            "attempts": letter.attempts,
            "request": printable(f"{letter.request_method} {letter.request_path}"),
        }
        for letter in letters
    ]
    shown = table(rows, ("id", "function", "since", "reason", "attempts", "request"))
    return shown if total <= len(rows) else f"{shown}\n{total - len(rows)} more: ask with a higher --limit."


def _outcome_text(done: RedriveOutcome) -> str:
    lines = [f"redriven  {one.dead_letter_id}  as {one.execution_id}" for one in done.redriven]
    lines += [f"refused   {one.dead_letter_id}  {one.message}" for one in done.refused]
    return "\n".join(lines or ["There is nothing to redrive."])

"""`annals prepare`: what must be there before the first request: tables, the master key, a project and its key."""

import asyncio
import hashlib
from functools import partial
from typing import Literal

import click
import msgspec
import structlog

from annals.app.identity.secret_keys import make_key
from annals.cli.event_log import actor, opened
from annals.cli.foreground import json_logs, run
from annals.cli.users import first_admin
from annals.domain.commands.projects import create_project
from annals.domain.decoding import UNREADABLE
from annals.domain.errors import ProjectNotFound
from annals.domain.project import Project
from annals.domain.scopes import PROJECT_SCOPES
from annals.settings import Settings
from annals.store.errors import StoreUnavailable
from annals.store.log.log import EventLog
from annals.store.postgres.migrate import migrate
from annals.store.proof.notes import signing_key
from annals.store.secrets.vault import Vault
from annals.supervisor.folders import private_file
from annals.supervisor.services import FirstKey, read_key

log = structlog.get_logger()

PROJECT, NAME = "default", "Default"
WAIT_SECONDS = 60.0
SILENT_SECONDS = 3.0
"""How long the command waits for the database before it prints the reason."""


@click.command()
@click.option(
    "--stage",
    type=click.Choice(["pre", "all"]),
    default="all",
    help="pre: only what a former version that still runs can live with; all: everything.",
)
@json_logs
def prepare(json_logs: bool, stage: Literal["pre", "all"]) -> None:
    """Bring the database up to date and make the first project, unless it is there."""
    run("prepare", partial(_prepare, stage=stage), json_logs=json_logs)


async def _prepare(settings: Settings, *, stage: Literal["pre", "all"]) -> None:
    settings.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    signing_key(settings.seal_key)
    if applied := await _migrated(settings.database_url, stage):
        log.info("migrated", files=len(applied), to=applied[-1])
    async with opened(settings) as event_log:
        await Vault.of(event_log.database, settings.master_key)
        await _first_key(settings, event_log)
        await first_admin(settings, event_log)


async def _migrated(url: str, stage: Literal["pre", "all"]) -> list[str]:
    """Migrate as soon as the database answers, which may itself be starting."""
    loop = asyncio.get_running_loop()
    began, announced = loop.time(), False
    while True:
        try:
            return await asyncio.to_thread(migrate, url, stage=stage)
        except StoreUnavailable as error:
            waited = loop.time() - began
            if waited > WAIT_SECONDS:
                raise
            if waited > SILENT_SECONDS and not announced:
                announced = True
                log.warning("database_does_not_answer", waits_seconds=WAIT_SECONDS, error=str(error))
            await asyncio.sleep(0.05)


async def _first_key(settings: Settings, event_log: EventLog) -> None:
    """The default project, and a key of it whose secret lies in the data folder: made once, kept while it is valid."""
    try:
        project = await event_log.load(Project.key(PROJECT))
    except ProjectNotFound:
        project = None
    if project is not None and _still_valid(settings, project):
        return
    made = make_key("First key", PROJECT_SCOPES)
    # Write the file first: the log cannot show a secret again, and a file without a recorded key is replaced.
    path = settings.folder / "key.json"
    private_file(path, msgspec.json.format(msgspec.json.encode(FirstKey(PROJECT, made.secret)), indent=2) + b"\n")
    if project is None:
        await event_log.run(
            create_project, Project.absent(PROJECT), meta=actor(), project_id=PROJECT, name=NAME, keys=[made.key]
        )
    else:
        await event_log.run(Project.add_key, Project.key(PROJECT), meta=actor(), key=made.key)
    log.info("key_made", project=PROJECT, file=str(path))


async def drop_dead_key(settings: Settings, event_log: EventLog) -> None:
    """A key of a log that another one replaced opens nothing any more; the next start makes another."""
    try:
        project = await event_log.load(Project.key(PROJECT))
    except ProjectNotFound:
        project = None
    if project is None or not _still_valid(settings, project):
        (settings.folder / "key.json").unlink(missing_ok=True)


def _still_valid(settings: Settings, project: Project) -> bool:
    try:
        kept = read_key(settings.folder)
    except (OSError, *UNREADABLE):
        return False
    digest = hashlib.sha256(kept.key.encode()).hexdigest()
    return any(key.digest == digest for key in project.keys.values())

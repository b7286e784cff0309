"""`annals keys rotate-master`: wraps the data keys with a new master key while the instance runs."""

import asyncio
from pathlib import Path

import click

from annals.cli.event_log import with_log
from annals.cli.options import answer, data_option, json_option, of_instance
from annals.store.errors import MasterKeyWrong
from annals.store.log.log import EventLog
from annals.store.secrets.vault import Vault, master_key

SECOND_PASS_SECONDS = 2.0
"""Pause before the second pass, which rewraps keys that a process wrapped while the file changed."""


@click.command("rotate-master")
@click.option("--stage", is_flag=True, help="Only put a new key into the file, to copy it to the other hosts first.")
@data_option
@json_option
def rotate_master(*, stage: bool, data: Path | None, as_json: bool) -> None:
    """Wrap every project's data key with a new master key. Nothing stops, and nothing that was sealed changes."""
    settings = of_instance(data)
    path = settings.master_key
    if not path.exists():
        raise click.ClickException(f"There is no master key at {path}. Name it with ANNALS_MASTER_KEY_FILE.")
    try:
        masters = master_key(path)
        if len(masters) == 1:  # with two keys, one was staged or a rotation was interrupted
            masters.add()
    except (MasterKeyWrong, OSError) as error:
        raise click.ClickException(str(error)) from None
    if stage:
        answer({"file": str(path), "keys": len(masters)}, as_json, lambda: f"staged   {path}")
        return

    async def work(log: EventLog) -> int:
        vault = Vault(log.database, masters)
        wrapped = await vault.rewrap()
        await asyncio.sleep(SECOND_PASS_SECONDS)
        return wrapped + await vault.rewrap()

    rewrapped = with_log(settings, work)
    former = masters.retire()
    content = {"file": str(path), "dataKeys": rewrapped, "former": str(former)}
    answer(content, as_json, lambda: f"rotated  {rewrapped} data keys\nformer   {former}")

"""`annals verify`: is the log what was sealed and signed, and if not, where is it not?"""

import sys
from itertools import groupby
from pathlib import Path

import click
import msgspec

from annals.cli.event_log import with_log
from annals.cli.options import answer, instance_options, of_instance
from annals.store.content.blobs import BlobError
from annals.store.log.archives import Archives
from annals.store.log.log import EventLog
from annals.store.log.snapshot_check import SnapshotCheck
from annals.store.proof.contents_check import ContentsCheck
from annals.store.proof.destinations import Destinations
from annals.store.proof.notes import NoteInvalid, Verifier, existing_key
from annals.store.proof.seal_check import Fault
from annals.store.proof.verification import MOST_FAULTS, Verdict, Verification

_STEP = 4096 * 8


@click.command()
@click.option("--since-checkpoint", is_flag=True, help="Only what came after the newest checkpoint outside.")
@click.option("--contents", is_flag=True, help="Also read every content, source and artefact, and check its digest.")
@click.option("--key", default="", help="Verifier key to trust, kept elsewhere; left out: that of the key file.")
@click.option(
    "--place", "further", multiple=True, help="Folder or URL with further checkpoints, beside the settings'; repeat it."
)
@instance_options
def verify(
    *, since_checkpoint: bool, contents: bool, key: str, further: tuple[str, ...], data: Path | None, as_json: bool
) -> None:
    """Check every event against the seal and the signed checkpoints; fail and name the first that differs."""
    settings = of_instance(data)
    try:
        verifier = Verifier.parse(key) if key else existing_key(settings.seal_key).verifier

        async def work(log: EventLog) -> Verdict:
            blobs = log.contents.blobs
            outside = Destinations(blobs, [*settings.checkpoint_places, *further])
            archives = Archives(log.database, blobs)
            verification = Verification(log.database, archives, verifier, outside)
            verdict = await verification.run(since_checkpoint=since_checkpoint, report=_Progress())
            if not since_checkpoint:
                verdict = await _with_snapshots(verdict, SnapshotCheck(log.database, log.mapper))
            return await _with_contents(verdict, ContentsCheck(log.database, blobs, archives)) if contents else verdict

        verdict = with_log(settings, work)
    except (NoteInvalid, BlobError) as error:
        raise click.ClickException(str(error)) from None
    answer(msgspec.to_builtins(verdict), as_json, lambda: as_text(verdict, verifier))
    if not verdict.ok:
        sys.exit(1)


async def _with_snapshots(verdict: Verdict, check: SnapshotCheck) -> Verdict:
    snapshots = [
        (one, f"the snapshot of {one.stream} at version {one.version} {one.detail}") for one in await check.run()
    ]
    faults = [*verdict.faults, *(Fault("snapshot_altered", one.position, detail) for one, detail in snapshots)]
    return msgspec.structs.replace(verdict, ok=not faults, faults=faults[:MOST_FAULTS], snapshots=check.read)


async def _with_contents(verdict: Verdict, check: ContentsCheck) -> Verdict:
    faults = [*verdict.faults, *await check.run()]
    return msgspec.structs.replace(verdict, ok=not faults, faults=faults[:MOST_FAULTS], contents=check.read)


class _Progress:
    """Shows counts on standard error, if that is a terminal."""

    def __init__(self) -> None:
        self._next = _STEP if sys.stderr.isatty() else sys.maxsize

    def __call__(self, events: int) -> None:
        if events >= self._next:
            self._next = events + _STEP
            click.echo(f"\r{events:,} events\r", err=True, nl=False)


def as_text(verdict: Verdict, verifier: Verifier) -> str:
    """For a person."""
    lines = [
        f"key          {verifier}",
        f"events       {verdict.events:,} in {verdict.seconds:g} s",
        *([f"snapshots    {verdict.snapshots:,}, compared with their events"] if verdict.snapshots else []),
        *([f"contents     {verdict.contents:,}, sources and artefacts among them"] if verdict.contents else []),
        f"checkpoints  {verdict.checkpoints}, {verdict.outside_checkpoints} copies of them outside the database",
        f"proven       up to position {verdict.proven_position}",
        f"unsealed     {verdict.unsealed} newer events",
    ]
    lines += [_fault_text(list(alike)) for _, alike in groupby(verdict.faults, key=_likeness)]
    if len(verdict.faults) == MOST_FAULTS:
        lines.append(f"These are the first {MOST_FAULTS}; there may be more behind them.")
    if verdict.ok:
        lines.append("The log is what was signed." if verdict.proven_position else "Nothing was signed yet.")
    return "\n".join(lines)


def _likeness(fault: Fault) -> tuple[object, ...]:
    """What is alike for neighbours that one line tells of, such as a stretch that was cut off."""
    return (fault.kind, fault.detail) if fault.until is None else fault


def _fault_text(alike: list[Fault]) -> str:
    first, last = alike[0], alike[-1]
    span = f"{first.position}" if first.until is None else f"{first.position} to {first.until}"
    if first is not last:
        span = f"{first.position} and {len(alike) - 1} more, the last at {last.position}"
    return f"{first.kind.upper().replace('_', ' ')} at position {span}: {first.detail}"

"""`annals up`: one instance in the foreground, from the first line a person types to the last process that ends."""

import asyncio
import errno
import signal
import sys
from pathlib import Path

import click
import msgspec

from annals.cli.options import chosen, json_option
from annals.http.listening import Unavailable
from annals.settings import Settings, is_set
from annals.supervisor.children import NeverReady
from annals.supervisor.folders import Folders, InUse
from annals.supervisor.notify import notify
from annals.supervisor.services import LocalServices
from annals.supervisor.supervisor import READY_SECONDS, LiveLog, LocalInstance, StartedInstance
from annals.supervisor.wheels import Unusable

_TEXT = """
Annals is ready.

  endpoint  {endpoint}
  project   {project}
  key       {key}
  data      {data}
  driver    {driver}

With curl:

curl -H 'X-Appwrite-Project: {project}' -H 'X-Appwrite-Key: {key}' {endpoint}/functions

With the Python SDK (pip install appwrite):

from appwrite.client import Client
from appwrite.services.functions import Functions

client = Client().set_endpoint("{endpoint}").set_project("{project}").set_key("{key}")
print(Functions(client).list())

Ctrl-C stops it.
"""


@click.command()
@click.option("--data", type=click.Path(file_okay=False, path_type=Path), help="Folder of everything that must last.")
@click.option("--host", help="Address that the API listens on.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port of the API; 0 picks a free one.")
@click.option("--driver", type=click.Choice(["auto", "sandbox", "docker"]), help="What isolates functions.")
@json_option
def up(data: Path | None, host: str | None, port: int | None, driver: str | None, as_json: bool) -> None:
    """Run an instance here until Ctrl-C."""
    # The quota bounds tenants, which a machine of one's own does not have.
    quota = None if is_set("FUNCTIONS_CREATE_QUOTA") else 0
    settings = chosen(data=data, host=host, port=port, driver=driver, functions_create_quota=quota)
    folders = Folders(settings.folder)
    live = LiveLog(settings)
    try:
        folders.open()
        folders.lock()  # held until this process ends
        sys.exit(asyncio.run(_serve(_services(settings, folders, live), live, as_json=as_json)))
    except (InUse, Unavailable, Unusable) as error:
        raise click.ClickException(str(error)) from None
    except OSError as error:
        raise click.ClickException(start_failure(error, folders.data)) from None


def start_failure(error: OSError, data: Path) -> str:
    """What an error of the operating system at the start means, and what to do."""
    folder = error.filename or data
    reason = error.strerror or str(error)
    steps = {
        errno.ENOSPC: "Make room there, or choose another folder with --data.",
        errno.EDQUOT: "Raise the user's disk quota, or choose another folder with --data.",
        errno.EACCES: "Give this user access to it, or choose another folder with --data.",
        errno.EPERM: "Give this user access to it, or choose another folder with --data.",
        errno.EROFS: "Choose a folder that is not read-only with --data.",
        errno.EMFILE: "Raise the limit of open files: `ulimit -n 4096`.",
        errno.ENFILE: "The machine has no free file handles: raise fs.file-max.",
        errno.ENOMEM: "Free memory on this machine.",
        errno.EAGAIN: "Raise the limit of processes: `ulimit -u`.",
        errno.ENAMETOOLONG: "Choose a shorter path with --data.",
        errno.ENOTDIR: "Choose a path below folders with --data.",
    }
    step = steps.get(error.errno or 0, "`annals doctor` checks what this machine can do.")
    return f"The instance can't start: {folder}: {reason}. {step}"


def _services(settings: Settings, folders: Folders, live: LiveLog) -> LocalServices:
    """Raises Unavailable, Unusable, and leaves no empty folders then."""
    if not settings.database_url and not (folders.data / "postgres").exists():
        live.say("first start: making the database (some seconds)")
        notify(STATUS="making the database")
    try:
        return LocalServices(settings, folders)
    except (Unavailable, Unusable):
        folders.clear()
        raise


async def _serve(services: LocalServices, live: LiveLog, *, as_json: bool) -> int:
    instance = LocalInstance(services, live)
    asked = asyncio.Event()

    def end() -> None:
        if asked.is_set():
            instance.kill()
        asked.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, end)
    starting = asyncio.ensure_future(instance.start())
    waiting = asyncio.ensure_future(asked.wait())
    await asyncio.wait([starting, waiting], return_when=asyncio.FIRST_COMPLETED)
    code = 0
    if starting.done():
        code = _report(starting, live, services.folders.data, as_json=as_json)
    else:
        starting.cancel()
    if not code:
        await waiting
    live.say("stops")
    notify(STOPPING="1")
    await instance.stop()
    live.say("stopped")
    return code


def _report(starting: "asyncio.Future[StartedInstance]", live: LiveLog, data: Path, *, as_json: bool) -> int:
    try:
        started = starting.result()
    except NeverReady as error:
        live.say("can't_start", "error", exception=str(error))
        return 1
    except TimeoutError:
        live.say("can't_start", "error", reason=f"not ready within {READY_SECONDS} s")
        return 1
    except OSError as error:
        live.say(start_failure(error, data), "error")
        return 1
    click.echo(msgspec.json.encode(started).decode() if as_json else welcome(started))
    sys.stdout.flush()
    notify(READY="1", STATUS=started.endpoint)  # where systemd runs us, it wants to know
    return 0


def welcome(started: StartedInstance) -> str:
    """Return the text. Commands begin their lines, so that whole lines can be pasted."""
    return _TEXT.format(
        endpoint=started.endpoint,
        project=started.project,
        key=started.key,
        data=started.data,
        driver=started.driver,
    )

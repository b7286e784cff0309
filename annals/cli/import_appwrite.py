"""`annals import-appwrite`: move functions in from a running Appwrite."""

from pathlib import Path

import click
import httpx
import msgspec

from annals.cli.appwrite import Api, Finding, ImportRefused, Move, query
from annals.cli.options import answer, data_option, json_option, of_instance
from annals.settings import Settings
from annals.supervisor.services import read_key


@click.command(name="import-appwrite")
@click.option("--endpoint", required=True, help="Where the other instance is, with `/v1`.")
@click.option("--project", required=True, help="Its project.")
@click.option(
    "--key", required=True, envvar="APPWRITE_API_KEY", help="Its key, with functions.read, project.read and rules.read."
)
@click.option("--function", "only", multiple=True, help="Only this function; repeat it.")
@click.option("--all-deployments", "everything", is_flag=True, help="Sources of inactive deployments as well.")
@click.option("--start-schedules", "schedules", is_flag=True, help="Take schedules over, which start at once.")
@click.option("--to", nargs=2, default=None, metavar="PROJECT KEY", help="Into this project instead of the first one.")
@data_option
@json_option
def import_appwrite(data: Path | None, as_json: bool, to: tuple[str, str] | None, **given: object) -> None:
    """Copy functions, variables, policies and sources by the other's public API, and report what was left."""
    settings = of_instance(data)
    project, key = to or _first(settings)
    source = Api(str(given["endpoint"]), str(given["project"]), str(given["key"]))
    target = Api(settings.endpoint, project, key)
    move = Move(source, target, all_deployments=bool(given["everything"]), schedules=bool(given["schedules"]))
    only = given["only"]
    try:
        _greet(target, "This instance", "Name a project of it and its key with --to.")
        _greet(source, source.endpoint, "Look at --endpoint, --project and --key.")
        findings = move.run(only if isinstance(only, tuple) else ())
    except (ImportRefused, httpx.TransportError) as error:
        raise click.ClickException(f"{error}; {len(move.findings)} things were looked at before.") from None
    finally:
        source.close()
        target.close()
    content = {"came": sum(one.came for one in findings), "findings": msgspec.to_builtins(findings)}
    answer(content, as_json, lambda: _text(findings))


def _greet(api: Api, name: str, advice: str) -> None:
    """Find out at once whether anything can be read there. Raises click.ClickException."""
    try:
        api.call("GET", "/functions", params={"queries[]": [query("limit", 1)]})
    except ImportRefused as refused:
        raise click.ClickException(f"{name} refuses: {refused} {advice}") from None
    except (httpx.TransportError, httpx.InvalidURL) as error:
        raise click.ClickException(f"{name} cannot be reached: {str(error).rstrip('.')}. {advice}") from None


def _first(settings: Settings) -> tuple[str, str]:
    try:
        kept = read_key(settings.folder)
    except OSError:
        raise click.ClickException(
            f"{settings.folder} holds no key.json. Name a project and its key with --to."
        ) from None
    return kept.project, kept.key


def _text(findings: list[Finding]) -> str:
    lines = [f"{'came' if one.came else 'LEFT':<5} {one.kind:<10} {one.id:<40} {one.why}".rstrip() for one in findings]
    return "\n".join(lines or ["There is no function to import."])

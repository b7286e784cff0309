"""`annals import-appwrite`: move functions in from a running Appwrite by its public API, and report what was left.

One file because the command only calls the move and prints its findings.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import click
import httpx
import msgspec

from annals.cli.options import answer, instance_options, of_instance
from annals.settings import Settings
from annals.supervisor.services import read_key

PAGE = 100
CHUNK = 5 * 1024 * 1024
_REFUSED = re.compile(r"Invalid `(\w+)` param")
_KEPT = (
    *("name", "runtime", "execute", "events", "timeout", "enabled", "logging", "entrypoint", "commands", "scopes"),
    *("specification", "buildSpecification", "runtimeSpecification", "deploymentRetention"),
)
_NEEDED = frozenset({"functionId", "name", "runtime"})
_POLICY = ("scaling", "retries")
"""Parts of a policy that mean the same elsewhere; `traffic` names deployments by ids that are new here."""

_GIT = ("installationId", "providerRepositoryId")

JSON = dict[str, Any]


Kind = Literal["function", "variable", "deployment", "setting", "policy", "domain"]


class Finding(msgspec.Struct, frozen=True):
    """One thing: whether it came, and if not, or not all of it, why."""

    kind: Kind
    id: str
    came: bool
    why: str = ""


class ImportRefused(Exception):
    """An API said no; the message is its own."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status} {message}")
        self.status, self.message = status, message


class Api:
    """One project of one instance."""

    def __init__(self, endpoint: str, project: str, key: str) -> None:
        headers = {"x-appwrite-project": project, "x-appwrite-key": key}
        self.endpoint = endpoint
        self.hint = ""
        self._http = httpx.Client(base_url=endpoint.rstrip("/"), headers=headers, timeout=120, follow_redirects=True)

    def close(self) -> None:
        self._http.close()

    def call(self, method: str, path: str, **sent: Any) -> JSON:
        """Raises ImportRefused, httpx.TransportError."""
        answer = self._http.request(method, path, **sent)
        self.hint = answer.headers.get("x-annals-hint", "")
        if answer.is_error:
            raise ImportRefused(answer.status_code, _message(answer))
        found: JSON = answer.json() if answer.content else {}
        return found

    def all(self, path: str, name: str) -> Iterator[JSON]:
        """Every row of a list, page by page."""
        cursor: list[str] = []
        while True:
            queries = [query("limit", PAGE), *cursor]
            rows = self.call("GET", path, params={"queries[]": queries})[name]
            yield from rows
            if len(rows) < PAGE:
                return
            cursor = [query("cursorAfter", rows[-1]["$id"])]

    def download(self, path: str) -> bytes:
        """Raises ImportRefused, httpx.TransportError."""
        answer = self._http.get(path)
        if answer.is_error:
            raise ImportRefused(answer.status_code, _message(answer))
        return answer.content

    def upload(self, path: str, code: bytes, fields: JSON) -> JSON:
        """In chunks, as the SDKs do. Raises ImportRefused, httpx.TransportError."""
        headers: dict[str, str] = {}
        made: JSON = {}
        for start in range(0, len(code), CHUNK):
            piece = code[start : start + CHUNK]
            if len(code) > CHUNK:
                headers["content-range"] = f"bytes {start}-{start + len(piece) - 1}/{len(code)}"
            files = {"code": ("code.tar.gz", piece, "application/gzip")}
            made = self.call("POST", path, data=fields, files=files, headers=headers)
            headers["x-appwrite-id"] = str(made["$id"])
        return made


class Move:
    """From one project to another; what is there already stays as it is."""

    def __init__(self, source: Api, target: Api, *, all_deployments: bool, schedules: bool) -> None:
        self._source, self._target = source, target
        self._all, self._schedules = all_deployments, schedules
        self.findings: list[Finding] = []

    def run(self, only: Sequence[str] = ()) -> list[Finding]:
        """Raises ImportRefused when the source's functions cannot be listed, httpx.TransportError."""
        for function in self._source.all("/functions", "functions"):
            if not only or function["$id"] in only:
                self._function(function)
        self._variables("project", "/project/variables")
        self._domains(only)
        return self.findings

    def _domains(self, only: Sequence[str]) -> None:
        """Name the domains of functions: where a domain leads is decided outside of both instances."""
        try:
            rules = list(self._source.all("/proxy/rules", "rules"))
        except ImportRefused as refused:
            self._found("domain", "*", False, f"domains cannot be listed: {refused.message}")
            return
        for rule in rules:
            function_id = rule.get("deploymentResourceId") or rule.get("resourceId") or ""
            automatic = rule.get("trigger") == "deployment"
            if function_id and not automatic and (not only or function_id in only):
                why = f"let it lead here and add a rule for function {function_id} (POST /v1/proxy/rules/function)"
                self._found("domain", str(rule["domain"]), False, why)

    def _policy(self, function_id: str) -> None:
        """Bring the policy, which only an instance of Annals has."""
        path = f"/functions/{function_id}/policy"
        try:
            policy = self._source.call("GET", path)
        except ImportRefused as refused:
            if refused.status != 404:
                self._found("policy", function_id, False, refused.message)
            return
        try:
            wanted = {name: policy[name] for name in _POLICY if name in policy}
            if any(self._target.call("GET", path).get(name) != value for name, value in wanted.items()):
                self._target.call("PATCH", path, json=wanted)
                self._found("policy", function_id, True)
        except ImportRefused as refused:
            self._found("policy", function_id, False, refused.message)
        if policy.get("traffic"):
            self._left(function_id, "traffic", "deployments have other ids here: share the traffic out again")

    def _function(self, function: JSON) -> None:
        function_id = function["$id"]
        body = {"functionId": function_id, **{name: function[name] for name in _KEPT if function.get(name) is not None}}
        if self._schedules:
            body["schedule"] = function.get("schedule", "")
        try:
            self._create(function_id, body)
        except ImportRefused as refused:
            self._found("function", function_id, False, refused.message)
            return
        self._found("function", function_id, True, self._target.hint)
        if function.get("schedule") and not self._schedules:
            self._left(function_id, "schedule", "it is not started unless asked for")
        if any(function.get(name) for name in _GIT):
            self._left(function_id, "repository", "connect it again")
        self._variables(function_id, f"/functions/{function_id}/variables")
        self._policy(function_id)
        self._deployments(function_id, function.get("deploymentId") or function.get("deployment") or "")

    def _create(self, function_id: str, body: JSON) -> None:
        """Without the settings that this instance does not take. Raises ImportRefused."""
        while True:
            try:
                self._target.call("POST", "/functions", json=body)
                return
            except ImportRefused as refused:
                match = _REFUSED.search(refused.message)
                if match is None or match[1] in _NEEDED or match[1] not in body:
                    raise
                del body[match[1]]
                self._left(function_id, match[1], refused.message)

    def _variables(self, owner: str, path: str) -> None:
        """Bring the variables of a function, or of the project, which all of its functions see."""
        try:
            rows = list(self._source.all(path, "variables"))
        except ImportRefused as refused:
            self._found("variable", f"{owner}/*", False, refused.message)
            return
        for row in rows:
            name = f"{owner}/{row['key']}"
            if row.get("secret"):
                self._found("variable", name, False, "secret values are shown to nobody: set it again")
                continue
            sent = {"variableId": "unique()", "key": row["key"], "value": row["value"], "secret": False}
            try:
                self._target.call("POST", path, json=sent)
                self._found("variable", name, True)
            except ImportRefused as refused:
                self._found("variable", name, False, refused.message)

    def _deployments(self, function_id: str, active: str) -> None:
        path = f"/functions/{function_id}/deployments"
        try:
            rows = sorted(
                self._source.all(path, "deployments"), key=lambda row: (row["$id"] == active, row["$createdAt"])
            )
        except ImportRefused as refused:
            self._found("deployment", f"{function_id}/*", False, refused.message)
            return
        for row in rows:
            is_active = row["$id"] == active
            name = f"{function_id}/{row['$id']}"
            if not is_active and not self._all:
                self._found("deployment", name, False, "it is not the active one")
                continue
            try:
                code = self._source.download(f"{path}/{row['$id']}/download")
                fields = {"activate": "true" if is_active else "false"}
                fields |= {word: row[word] for word in ("entrypoint", "commands") if row.get(word)}
                made = self._target.upload(path, code, fields)
                self._found("deployment", name, True, f"its id here is {made['$id']}")
            except ImportRefused as refused:
                self._found("deployment", name, False, refused.message)

    def _found(self, kind: Kind, name: str, came: bool, why: str = "") -> None:
        self.findings.append(Finding(kind, name, came, why))

    def _left(self, function_id: str, setting: str, why: str) -> None:
        self.findings.append(Finding("setting", f"{function_id}/{setting}", came=False, why=why))


def query(method: str, value: object) -> str:
    return msgspec.json.encode({"method": method, "values": [value]}).decode()


def _message(answer: httpx.Response) -> str:
    """The error's message, with the hint that an instance of ours adds."""
    try:
        return f"{answer.json()['message']} {answer.headers.get('x-annals-hint', '')}".rstrip()
    except (ValueError, KeyError, TypeError):
        return answer.text[:200] or answer.reason_phrase


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
@instance_options
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

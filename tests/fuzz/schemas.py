"""The schema fuzzer: schemathesis with both OpenAPI documents, as each kind of caller."""

import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import schemathesis

from tests.fuzz.answers import Answer, fault_of
from tests.fuzz.requests import PROJECT, World
from tests.instance import AnnalsInstance, annals

ROOT = Path(__file__).parents[2]
VERSIONS = ("2.5.0", "1.8.0")
REQUEST_SECONDS = 60
_LIKELY = {
    **dict.fromkeys(("functionId", "userId", "teamId", "projectId", "installationId"), "unique()"),
    "email": "a@example.test",
    "password": "correct horse",
    "url": "https://127.0.0.1",
    "provider": "git",
    "schedule": "0 0 * * *",
    "hostname": "a.example.test",
    "domain": "a.functions.localhost",
    "path": "/",
}
"""Valid values for fields that the documents describe as any text."""

_TIMES = ("2030-01-01T00:00:00.000+00:00", "0001-01-01T00:00:00-14:00", "9999-12-31T23:59:59.999+14:00", "1", "0", "-1")
_MOST_SHOWN = 4000

COVERED, PROTECTED = "ANNALS_FUZZ_COVERED", "ANNALS_FUZZ_PROTECTED"
"""Environment variables: the file for the record, and the projects that no request may change."""

_READY = "/health/ready"


@schemathesis.check
def keeps_the_contract(_context: Any, response: Any, case: Any) -> None:
    """Fail for a server error and for an error without the envelope."""
    if (
        response.status_code == 503 and case.path == _READY
    ):  # the answer of an instance that is not ready has its own form
        return
    headers = {name.lower(): ", ".join(values) for name, values in response.headers.items()}
    fault = fault_of(Answer(response.status_code, headers, response.content or b""))
    if fault is not None:
        raise AssertionError(fault)


@schemathesis.hook
def before_call(_context: Any, case: Any, _kwargs: Any) -> None:
    """Replace a protected project in a request that could change it."""
    named = case.path_parameters or {}
    if case.method != "GET" and named.get("projectId") in os.environ.get(PROTECTED, "").split(","):
        case.path_parameters = {**named, "projectId": "another"}


@schemathesis.hook
def after_call(_context: Any, case: Any, response: Any) -> None:
    """Record the operation and the status."""
    with open(os.environ[COVERED], "a") as file:
        file.write(f"{case.operation.label}\t{response.status_code}\n")


CHECKS = (keeps_the_contract.__name__, "content_type_conformance", "response_schema_conformance")


class Caller(NamedTuple):
    """A caller with its headers, its share of the time, and its phases of schemathesis."""

    name: str
    headers: dict[str, str]
    share: float
    phases: str = "coverage,fuzzing,stateful"


class SchemaFuzzer:
    """Runs schemathesis for each caller and version of the API, and collects findings and coverage."""

    def __init__(self, instance: AnnalsInstance, world: World, seed: int) -> None:
        self._instance, self._world, self._seed = instance, world, seed
        self.findings: list[str] = []
        self.covered: Counter[tuple[str, str]] = Counter()
        self.cases = 0

    def run(self, *, seconds: float, callers: tuple[str, ...] = (), options: tuple[str, ...] = ()) -> None:
        """Run all callers, or the named ones, and divide the time between them."""
        chosen = [caller for caller in self._callers() if not callers or caller.name in callers]
        total = sum(caller.share for caller in chosen) * len(VERSIONS)
        for number, caller in enumerate(chosen):
            for version in VERSIONS:
                with tempfile.TemporaryDirectory(prefix="annals-fuzz-", dir="/tmp") as folder:
                    share = max(1, round(seconds * caller.share / total))
                    self._run(Path(folder), caller, version, seconds=share, seed=self._seed + number, options=options)

    def summary(self) -> str:
        """Return the numbers of covered requests, operations and statuses as text."""
        statuses, operations = Counter[str](), {operation for operation, _ in self.covered}
        for (_, status), count in self.covered.items():
            statuses[status] += count
        succeeded = {operation for operation, status in self.covered if status.startswith("2")}
        return (
            f"schema: {statuses.total()} requests to {len(operations)} operations,"
            f" {len(succeeded)} of which answered 2xx; answers {dict(sorted(statuses.items()))}"
        )

    def _callers(self) -> list[Caller]:
        """Return a key of all scopes, a key of few, a guest, invalid credentials, and an admin of the console."""
        made = annals("projects", "create", "--id", "fuzz-schema", "--data", str(self._instance.data), "--json")
        assert made.returncode == 0, made.stderr
        project = {"X-Appwrite-Project": "fuzz-schema"}
        short = "fuzzing"
        found = [
            Caller("key", {**project, "X-Appwrite-Key": json.loads(made.stdout)["key"]}, 6),
            Caller(
                "low key", {"X-Appwrite-Project": PROJECT, "X-Appwrite-Key": self._world.low_key}, 1, "coverage,fuzzing"
            ),
            Caller("guest", project, 1, short),
            Caller("no key", {**project, "X-Appwrite-Key": f"standard_{'0' * 256}"}, 0.5, short),
            Caller("no token", {**project, "X-Appwrite-JWT": "eyJhbGciOiJIUzI1NiJ9.e30.AAAA"}, 0.5, short),
        ]
        if (file := self._instance.data / "admin.json").exists():
            found.append(Caller("admin", self._signed_in(json.loads(file.read_text())), 2))
        return found

    def _signed_in(self, admin: dict[str, str]) -> dict[str, str]:
        sent = {"email": admin["email"], "password": admin["password"]}
        console = {"X-Appwrite-Project": "console"}
        answer = httpx.post(f"{self._instance.endpoint}/account/sessions/email", json=sent, headers=console, timeout=60)
        cookies = "; ".join(f"{name}={value}" for name, value in answer.raise_for_status().cookies.items())
        return {**console, "Cookie": cookies}

    def _run(
        self, folder: Path, caller: Caller, version: str, *, seconds: int, seed: int, options: tuple[str, ...]
    ) -> None:
        origin = self._instance.endpoint.removesuffix("/v1")
        document = httpx.get(f"{origin}/openapi.json", params={"format": version}, timeout=60).raise_for_status().json()
        (folder / "openapi.json").write_text(json.dumps(with_own_parameters(document)))
        headers = {**caller.headers, "X-Appwrite-Response-Format": version}
        command = [
            *(sys.executable, "-m", "schemathesis.cli", "run", str(folder / "openapi.json")),
            *("--url", f"{origin}/v1", "--seed", str(seed), "--max-time", str(seconds), "--phases", caller.phases),
            *("--checks", ",".join(CHECKS), "--continue-on-failure", "--request-timeout", str(REQUEST_SECONDS)),
            *("--generation-database", "none", "--warnings", "off", "--no-color", "--output-sanitize", "false"),
            *("--suppress-health-check", "all", "--max-failures", "10", *options),
            *(word for name, value in headers.items() for word in ("-H", f"{name}: {value}")),
        ]
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "SCHEMATHESIS_HOOKS": __name__,
            COVERED: str(folder / "covered"),
            PROTECTED: f"{PROJECT},fuzz-schema,{self._instance.project}",
        }
        ended = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=seconds + 600
        )
        self._count(folder / "covered")
        if ended.returncode:
            output = ended.stdout.partition("= FAILURES =")[2] or ended.stdout + ended.stderr
            self.findings.append(
                f"schemathesis as {caller.name}, API version {version}, --seed {self._seed}:\n{output[:_MOST_SHOWN]}"
            )

    def _count(self, file: Path) -> None:
        for line in file.read_text().splitlines() if file.exists() else ():
            operation, _, status = line.rpartition("\t")
            self.covered[operation, status] += 1


def with_own_parameters(document: dict[str, Any]) -> dict[str, Any]:
    """Add the common parameters to every operation, since few operations are described with them."""
    text = {"type": "string"}
    as_of = {"anyOf": [{"type": "string", "enum": list(_TIMES)}, text]}
    dry_run = {"anyOf": [{"type": "string", "enum": ["true", "false", "false", "", "1", "a"]}, text]}
    plain_header = {"type": "string", "pattern": r"\A[!-~]{0,300}\Z"}
    for operations in document["paths"].values():
        for method, operation in operations.items():
            _suggest(operation)
            added: list[tuple[str, str, dict[str, Any]]] = (
                [("asOf", "query", as_of)] if method == "get" else [("dryRun", "query", dry_run)]
            )
            if method == "post":
                added.append(("Idempotency-Key", "header", plain_header))
            described = operation.setdefault("parameters", [])
            named = {parameter["name"] for parameter in described}
            described += [
                {"name": name, "in": location, "required": False, "schema": schema}
                for name, location, schema in added
                if name not in named
            ]
    return document


def _suggest(operation: dict[str, Any]) -> None:
    """Make valid values of the body as likely as any others, so that requests create resources."""
    for content in operation.get("requestBody", {}).get("content", {}).values():
        properties = content["schema"].get("properties", {})
        for name in properties.keys() & _LIKELY.keys():
            properties[name] = {"anyOf": [{"type": "string", "enum": [_LIKELY[name]]}, properties[name]]}

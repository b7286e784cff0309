"""Schemathesis with a fixed seed sends values that the OpenAPI documents allow or forbid to a running instance."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.source import ROOT
from tests.instance import AnnalsInstance, annals

LEFT_OUT = {
    "unsupported_method": "the contract answers an unknown method of a path with 404, not 405",
    "positive_data_acceptance": "the reference's documents allow any text for ids and crons, which have stricter rules",
    "ignored_auth": "an unknown project is an error before the credential is checked",
}
"""Checks that contradict the contract, with the reason."""

OPTIONS = {
    "2.5.0": ("--max-examples", "3", "--exclude-path-regex", "^/projects"),
    "1.8.0": ("--max-examples", "5", "--include-path-regex", "^/functions", "--phases", "fuzzing,stateful"),
}
"""The options by API version. The newest document is tested whole, but for the console's operations, which refuse
keys; of the older document only the operations that differ are tested."""


@pytest.fixture(scope="module")
def project(annals_instance: AnnalsInstance) -> dict[str, str]:
    """Return the headers of a new project."""
    made = annals("projects", "create", "--id", "schemathesis", "--data", str(annals_instance.data), "--json")
    assert made.returncode == 0, made.stderr
    return {"X-Appwrite-Project": "schemathesis", "X-Appwrite-Key": json.loads(made.stdout)["key"]}


@pytest.mark.timeout(1500)
@pytest.mark.parametrize("version", OPTIONS)
def test_every_answer_matches_the_document(
    annals_instance: AnnalsInstance, project: dict[str, str], tmp_path: Path, version: str
) -> None:
    """No answer is a 5xx, errors have the envelope, models match the document, and deleted resources are gone."""
    origin = annals_instance.endpoint.removesuffix("/v1")
    headers = {**project, "X-Appwrite-Response-Format": version}
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "run", f"{origin}/openapi.json?format={version}"),
        *("--origin", origin, "--seed", "20260301", "--checks", "all", "--exclude-checks", ",".join(LEFT_OUT)),
        *(
            "--request-timeout",
            "120",
            "--continue-on-failure",
            "--no-shrink",
            "--warnings",
            "off",
            "--generation-database",
            "none",
            "--no-color",
        ),
        *(word for name, value in headers.items() for word in ("-H", f"{name}: {value}")),
        *OPTIONS[version],
    ]
    hooks = {"SCHEMATHESIS_HOOKS": "tests.api.schemathesis_hooks", "PYTHONPATH": str(ROOT)}
    environment = {**os.environ, **hooks}
    ended = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=1400
    )

    assert ended.returncode == 0, ended.stdout[-6000:] + ended.stderr[-2000:]
    cases = re.search(r"([\d,]+) generated", ended.stdout)
    assert cases is not None, ended.stdout
    assert int(cases[1].replace(",", "")) > 200
    assert "Stateful" in ended.stdout

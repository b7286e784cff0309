"""Whatever our own documents allow or forbid, sent to a running instance: schemathesis, seeded and bounded."""

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
    "unsupported_method": "a method that a path does not have is 404 in the contract, not 405",
    "positive_data_acceptance": "the reference's documents say text where ids and crons have rules of their own",
    "ignored_auth": "a project that is not there is told before any credential is judged",
}
"""The checks that the contract contradicts."""

ASKED = {
    "2.5.0": ("--max-examples", "3", "--exclude-path-regex", "^/projects"),
    "1.8.0": ("--max-examples", "5", "--include-path-regex", "^/functions", "--phases", "fuzzing,stateful"),
}
"""The newest document whole but for the console's operations, which keys may not call; of the former what differs."""


@pytest.fixture(scope="module")
def project(annals_instance: AnnalsInstance) -> dict[str, str]:
    """Headers of a project of its own."""
    made = annals("projects", "create", "--id", "schemathesis", "--data", str(annals_instance.data), "--json")
    assert made.returncode == 0, made.stderr
    return {"X-Appwrite-Project": "schemathesis", "X-Appwrite-Key": json.loads(made.stdout)["key"]}


@pytest.mark.timeout(1500)
@pytest.mark.parametrize("version", ASKED)
def test_every_answer_is_what_the_document_says(
    annals_instance: AnnalsInstance, project: dict[str, str], tmp_path: Path, version: str
) -> None:
    """No 5xx, every refusal in the envelope, every model as described, and nothing that outlives its deletion."""
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
        *ASKED[version],
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

"""What schemathesis loads: the check that each answer keeps the contract, and the record of what was covered."""

import os
from typing import Any

import schemathesis

from tests.fuzz.answers import Answer, fault_of

COVERED, KEPT = "ANNALS_FUZZ_COVERED", "ANNALS_FUZZ_KEPT"
"""Environment variables: the file to record to, and the projects that no request may change, which all others need."""

_READY = "/health/ready"


@schemathesis.check
def keeps_the_contract(_context: Any, response: Any, case: Any) -> None:
    """Fail for a server error, and for an answer outside of the envelope."""
    if response.status_code == 503 and case.path == _READY:  # not ready, which it says in its own words
        return
    headers = {name.lower(): ", ".join(values) for name, values in response.headers.items()}
    fault = fault_of(Answer(response.status_code, headers, response.content or b""))
    if fault is not None:
        raise AssertionError(fault)


@schemathesis.hook
def before_call(_context: Any, case: Any, _kwargs: Any) -> None:
    """Change no project that is fuzzed."""
    named = case.path_parameters or {}
    if case.method != "GET" and named.get("projectId") in os.environ.get(KEPT, "").split(","):
        case.path_parameters = {**named, "projectId": "another"}


@schemathesis.hook
def after_call(_context: Any, case: Any, response: Any) -> None:
    """Record the operation and the status."""
    with open(os.environ[COVERED], "a") as file:
        file.write(f"{case.operation.label}\t{response.status_code}\n")

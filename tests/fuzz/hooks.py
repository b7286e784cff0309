"""Hooks that schemathesis loads: the check of each answer against the contract, and the record of the coverage."""

import os
from typing import Any

import schemathesis

from tests.fuzz.answers import Answer, fault_of

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

"""Errors of the Open Runtimes executor API: each type with its status code and default message."""

USUAL = {
    "general_unknown": (500, "Internal server error."),
    "general_unauthorized": (401, "Missing executor key"),
    "general_route_not_found": (404, "Not Found"),
    "general_argument_invalid": (400, "A parameter is missing or invalid."),
    "general_request_too_large": (413, "The request is larger than is allowed."),
    "general_overloaded": (503, "More is being asked at once than is allowed. Try again soon."),
    "general_unavailable": (503, "The container engine does not answer. Try again soon."),
    "runtime_not_found": (404, "Runtime not found"),
    "runtime_conflict": (409, "Runtime already exists."),
    "runtime_failed": (400, "Runtime failed."),
    "runtime_timeout": (400, "Timed out waiting for runtime."),
    "build_failed": (400, "Build failed."),
    "execution_bad_request": (400, "Execution request was invalid."),
    "execution_bad_json": (
        400,
        "Execution resulted in binary response, but JSON response does not allow binaries. "
        'Use "Accept: multipart/form-data" header to support binaries.',
    ),
    "logs_timeout": (504, "Timed out waiting for logs."),
    "command_timeout": (500, "Operation timed out."),
    "command_failed": (500, "Failed to execute command."),
}
"""The types of the contract, and four of our own for requests that are rejected before they are parsed."""


class ApiError(Exception):
    """A request fails with this error; `kind` is a key of USUAL."""

    def __init__(self, kind: str, message: str = "") -> None:
        self.code, usual = USUAL[kind]
        self.kind = kind
        super().__init__(message or usual)

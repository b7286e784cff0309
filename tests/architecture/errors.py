"""The page of errors, made from the code (`make docs`): each type with its status, its sentence and the next step."""

from collections.abc import Iterator

import annals.app.main  # noqa: F401 (it imports every module that defines an error)
from annals.app.edge.error_answers import STATUS
from annals.domain.errors import DomainError
from annals.store.errors import StatementTooSlow, StoreUnavailable
from tests.architecture.source import ROOT

PAGE = ROOT / "docs" / "errors.md"

_HEAD = """# Errors

Made from the code by `make docs`; a test holds it to that.

An error answer is JSON with `message`, `code` (the HTTP status), `type` and `version`. Programs should look at
`type`, which stays the same. The message may name the parameter, the value or the limit at fault. The log line of the
request has the value of the header `X-Request-Id`.
Why an execution or a build failed is no error of a request: see the reasons in the [reference](reference.md#reasons).
"""

_LIST = "List the resources, and use an ID of the list. A deleted resource stays in its history and in `asOf` reads."
_OTHER_ID = "Choose another ID, or send `unique()` as the ID."
_RETRY = "Send the request again. An `Idempotency-Key` makes this safe."

NEXT_STEPS = {
    "build_already_completed": "Nothing is left to cancel. Deploy again to replace the build.",
    "build_canceled": "Create a new deployment.",
    "build_failed": "Read the build log of the deployment, correct the code or the commands, and deploy again.",
    "build_not_ready": "Wait until the status of the deployment is `ready`.",
    "checkpoint_not_found": "List the checkpoints with `GET /v1/checkpoints`.",
    "content_damaged": "Restore the blob from a backup. `annals verify` shows which contents are damaged.",
    "data_key_deleted": "Set the value again. After an import, import the data keys: `annals export --with-keys`.",
    "database_query_order_null": "Order by an attribute that has a value on every row.",
    "database_timeout": "Ask for a narrower range, or use fewer conditions.",
    "dead_letter_not_found": "List the dead letters of the function.",
    "deployment_contents_gone": "Deploy the code again. The retention settings say how long contents are kept.",
    "deployment_invalid_file_size": "Send a smaller archive, or raise the limit in the [settings](settings.md).",
    "deployment_not_found": _LIST,
    "event_not_found": "List the events of the project with `GET /v1/events`.",
    "event_not_sealed": "Wait for the next checkpoint, or name a later one.",
    "execution_already_ended": "Read its outcome. Start a new execution to run the function again.",
    "execution_already_exists": _OTHER_ID,
    "execution_in_progress": "Wait until it ends, or cancel it.",
    "execution_not_found": _LIST,
    "function_already_exists": _OTHER_ID,
    "function_entrypoint_missing": "Set `entrypoint` on the function, or send it with the deployment.",
    "function_execute_permission_missing": "Add the role of the caller to `execute` of the function.",
    "function_not_found": _LIST,
    "function_runtime_unsupported": "List the runtimes with `GET /v1/functions/runtimes`; the operator can add some.",
    "function_synchronous_timeout": "Create the execution with `async: true`, or make the function faster.",
    "function_template_not_found": "List the templates with `GET /v1/functions/templates`.",
    "general_access_forbidden": "Send the header `X-Appwrite-Project`.",
    "general_api_disabled": "An admin can switch the API on in the settings of the project.",
    "general_argument_invalid": "Correct the parameter that the message names. See [HTTP API](http-api.md).",
    "general_bad_request": "Correct the head or the body of the request as the message says.",
    "general_conflict": _RETRY,
    "general_cursor_not_found": "Start again from the first page, or use the ID of a row that exists.",
    "general_query_invalid": "Correct the query that the message names. The list decides which attributes it has.",
    "general_rate_limit_exceeded": "Wait for the seconds in the header `Retry-After`, then send the request again.",
    "general_request_timeout": "Send the body faster or in smaller chunks.",
    "general_route_not_found": "Compare method and path with [HTTP API](http-api.md). Paths begin with `/v1`.",
    "general_server_error": "Find the log line with the request id, and report it as a bug.",
    "general_service_disabled": "An admin can switch the service on in the settings of the project.",
    "general_service_unavailable": "Wait for the seconds in `Retry-After`. `annals doctor` shows what is away.",
    "general_unauthorized_scope": "Use a key with one of the scopes that the message names.",
    "general_unknown": "Read the message.",
    "general_unknown_origin": "Add the host name of the page as a web platform of the project.",
    "history_not_ready": _RETRY,
    "idempotency_answer_not_kept": "Read the resource: the first request was carried out.",
    "idempotency_budget_spent": "Send the request without a key, or use keys only where a request may be repeated.",
    "idempotency_key_reused": "Use a new key for each different request.",
    "installation_already_exists": _OTHER_ID,
    "installation_not_found": _LIST,
    "key_not_found": _LIST,
    "membership_already_confirmed": "Nothing is left to do.",
    "membership_not_found": _LIST,
    "platform_already_exists": _OTHER_ID,
    "platform_not_found": _LIST,
    "project_already_exists": "Choose another ID.",
    "project_id_missing": "Send the header `X-Appwrite-Project` beside the key.",
    "project_key_expired": "Create a new key with `annals keys create`.",
    "project_not_found": "Correct `X-Appwrite-Project`. `annals projects list` shows the projects.",
    "provider_repository_not_found": "Give the installation access to the repository, or correct its name.",
    "rule_already_exists": "Delete the other rule, or choose another domain.",
    "rule_not_found": _LIST,
    "rule_verification_failed": "Add the TXT record that the message shows, and create the rule again.",
    "storage_file_empty": "Send the archive as the form field `code`.",
    "storage_file_type_unsupported": "Pack the code as `.tar.gz` or `.zip`.",
    "storage_invalid_content_range": "Send `Content-Range: bytes <start>-<end>/<size>` with each chunk.",
    "storage_invalid_file": "Send `code` as a file of a multipart form.",
    "storage_invalid_file_size": "Send a smaller archive, or raise the limit in the [settings](settings.md).",
    "storage_invalid_range": "Ask for a range within the size of the file.",
    "team_already_exists": _OTHER_ID,
    "team_invite_already_exists": "Update the membership instead.",
    "team_not_found": _LIST,
    "user_already_exists": "Choose another ID, email or phone number, or use the existing user.",
    "user_blocked": "An admin or a key can unblock the user.",
    "user_invalid_credentials": "Check the email and the password.",
    "user_jwt_and_cookie_set": "Send one of them.",
    "user_jwt_invalid": "Create a new JWT from the session.",
    "user_not_found": _LIST,
    "user_session_not_found": "Sign in again.",
    "user_unauthorized": "Use credentials that may do this: a key, an admin, or an owner of the team.",
    "variable_already_exists": "Choose another ID or key, or update the existing variable.",
    "variable_cannot_unset_secret": "Delete the variable and create it again.",
    "variable_not_found": _LIST,
}
"""What to do about each type; a type without an entry fails `make docs`."""


def error_types(root: type[DomainError] = DomainError) -> Iterator[type[DomainError]]:
    """Yield every error class of the project."""
    for error in root.__subclasses__():
        if error.__module__.startswith("annals."):
            yield error
            yield from error_types(error)


def sentences() -> dict[str, str]:
    """Return the default message of each type."""
    found = {
        "general_server_error": "Server Error",
        "general_unknown": DomainError.default,
        "general_service_unavailable": StoreUnavailable.default,
        "database_timeout": StatementTooSlow.default,
    }
    for error in error_types():
        found.setdefault(error.type, error.default)
    return found


def page() -> str:
    """Return the page as it should be. Raises KeyError for a type without a next step."""
    messages = sentences()
    rows = [
        f"| `{kind}` | {status} | {messages[kind]} | {NEXT_STEPS[kind]} |" for kind, status in sorted(STATUS.items())
    ]
    return "\n".join([_HEAD, "| type | status | usual message | next step |\n|---|---|---|---|", *rows]) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())

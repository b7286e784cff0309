"""From errors to answers: the one table of HTTP codes, and the envelope."""

import msgspec

from annals.app.edge.answers import Answer, Header, json_answer
from annals.domain.errors import BadRequest, DomainError
from annals.domain.version import API_VERSION
from annals.http.connection import Rejection, RejectionAnswer
from annals.http.http_server import BOUNDS

STATUS = {
    "build_already_completed": 400,
    "build_canceled": 400,
    "build_failed": 400,
    "build_not_ready": 400,
    "checkpoint_not_found": 404,
    "content_damaged": 503,
    "data_key_deleted": 410,
    "database_query_order_null": 400,
    "dead_letter_not_found": 404,
    "deployment_contents_gone": 400,
    "deployment_invalid_file_size": 400,
    "database_timeout": 408,
    "deployment_not_found": 404,
    "event_not_found": 404,
    "event_not_sealed": 400,
    "execution_already_ended": 400,
    "execution_already_exists": 409,
    "execution_in_progress": 400,
    "execution_not_found": 404,
    "function_already_exists": 409,
    "function_entrypoint_missing": 404,
    "function_execute_permission_missing": 401,
    "function_not_found": 404,
    "function_runtime_unsupported": 404,
    "function_synchronous_timeout": 408,
    "function_template_not_found": 404,
    "general_access_forbidden": 401,
    "general_api_disabled": 403,
    "general_argument_invalid": 400,
    "general_bad_request": 400,
    "general_conflict": 409,
    "general_cursor_not_found": 400,
    "general_query_invalid": 400,
    "general_rate_limit_exceeded": 429,
    "general_request_timeout": 408,
    "general_route_not_found": 404,
    "general_server_error": 500,
    "general_service_disabled": 403,
    "general_service_unavailable": 503,
    "general_unauthorized_scope": 401,
    "general_unknown": 400,
    "general_unknown_origin": 403,
    "idempotency_answer_not_kept": 409,
    "idempotency_budget_spent": 429,
    "idempotency_key_reused": 409,
    "history_not_ready": 503,
    "installation_already_exists": 409,
    "installation_not_found": 404,
    "key_not_found": 404,
    "membership_already_confirmed": 409,
    "membership_not_found": 404,
    "platform_already_exists": 409,
    "platform_not_found": 404,
    "project_already_exists": 409,
    "project_id_missing": 403,
    "project_key_expired": 401,
    "project_not_found": 404,
    "rule_already_exists": 409,
    "rule_not_found": 404,
    "rule_verification_failed": 401,
    "provider_repository_not_found": 404,
    "storage_file_empty": 400,
    "storage_file_type_unsupported": 400,
    "storage_invalid_content_range": 400,
    "storage_invalid_file": 403,
    "storage_invalid_file_size": 400,
    "storage_invalid_range": 416,
    "team_already_exists": 409,
    "team_invite_already_exists": 409,
    "team_not_found": 404,
    "user_already_exists": 409,
    "user_blocked": 403,
    "user_invalid_credentials": 401,
    "user_jwt_and_cookie_set": 403,
    "user_jwt_invalid": 401,
    "user_not_found": 404,
    "user_session_not_found": 404,
    "user_unauthorized": 401,
    "variable_already_exists": 409,
    "variable_cannot_unset_secret": 400,
    "variable_not_found": 404,
}
_SHOWN_CODES = frozenset({*range(400, 406), 408, 409, 410, 412, 416, 422, 429, 451, 501, 503})
_UNCACHED: list[Header] = [
    (b"cache-control", b"no-cache, no-store, must-revalidate"),
    (b"expires", b"0"),
    (b"pragma", b"no-cache"),
]


class Envelope(msgspec.Struct):
    """Every error on the wire."""

    message: str
    code: int
    type: str
    version: str = API_VERSION


def error_answer(message: str, code: int, kind: str, headers: list[Header] | None = None) -> Answer:
    """An error in the envelope; codes that the contract does not tell become a bare 500."""
    if code not in _SHOWN_CODES:
        message, code = "Server Error", 500
    return json_answer(Envelope(message, code, kind), status=code, headers=[*_UNCACHED, *(headers or ())])


def domain_error_answer(error: DomainError) -> Answer:
    """A domain error as its answer."""
    headers: list[Header] = []
    if wait := getattr(error, "retry_after", 0):
        headers.append((b"retry-after", str(wait).encode()))
    return error_answer(str(error), STATUS.get(error.type, 500), error.type, headers)


def rejection_answer(rejection: Rejection) -> RejectionAnswer:
    """Return the answer to a request that the server rejects before the application sees it."""
    text = rejection.value
    if rejection is Rejection.TOO_LARGE:
        text += f" It may have {BOUNDS.head_lines} headers and {BOUNDS.head_bytes} bytes with the path."
    answer = domain_error_answer(BadRequest(text))
    return RejectionAnswer(answer.status, answer.headers, answer.body)

"""Errors that only the API raises: about a route, a credential, a parameter's form, the framing of an upload."""

from typing import ClassVar

from annals.domain.errors import DomainError, RateLimited
from annals.store.errors import DataKeyDeleted


class RouteNotFound(DomainError):
    type: ClassVar[str] = "general_route_not_found"
    default: ClassVar[str] = "The requested route was not found. Check the path and the method."


class UnauthorizedScope(DomainError):
    type: ClassVar[str] = "general_unauthorized_scope"
    default: ClassVar[str] = "The caller does not hold the scope that this operation needs."


class AccessForbidden(DomainError):
    type: ClassVar[str] = "general_access_forbidden"
    default: ClassVar[str] = "No project was named. Send the X-Appwrite-Project header."


class KeyExpired(DomainError):
    type: ClassVar[str] = "project_key_expired"
    default: ClassVar[str] = "The API key has expired. Make a new one."


class ProjectIdMissing(DomainError):
    type: ClassVar[str] = "project_id_missing"
    default: ClassVar[str] = "An API key needs the X-Appwrite-Project header beside it."


class JwtInvalid(DomainError):
    type: ClassVar[str] = "user_jwt_invalid"
    default: ClassVar[str] = "The JWT is malformed, expired or signed by another key. Ask for a new one."


class JwtAndCookieSet(DomainError):
    type: ClassVar[str] = "user_jwt_and_cookie_set"
    default: ClassVar[str] = "A session cookie and a JWT cannot be used together. Send one of them."


class UserBlocked(DomainError):
    type: ClassVar[str] = "user_blocked"
    default: ClassVar[str] = "The current user has been blocked. Ask an administrator of the project."


class InvalidCredentials(DomainError):
    type: ClassVar[str] = "user_invalid_credentials"
    default: ClassVar[str] = "Invalid credentials. Check the email and the password."


class UnknownOrigin(DomainError):
    type: ClassVar[str] = "general_unknown_origin"
    default: ClassVar[str] = "The page's origin is not a platform of this project. Add its host name as a web platform."


class ServiceDisabled(DomainError):
    type: ClassVar[str] = "general_service_disabled"
    default: ClassVar[str] = "The requested service is switched off in this project."


class ApiDisabled(DomainError):
    type: ClassVar[str] = "general_api_disabled"
    default: ClassVar[str] = "The REST API is switched off in this project."


class IdempotencyKeyReused(DomainError):
    type: ClassVar[str] = "idempotency_key_reused"
    default: ClassVar[str] = "This Idempotency-Key belongs to another request of the last 24 hours. Use a new one."


class IdempotencyAnswerNotKept(DomainError):
    type: ClassVar[str] = "idempotency_answer_not_kept"
    default: ClassVar[str] = "This request was carried out before. Its answer was too long to be stored."


class ExecutePermissionMissing(DomainError):
    type: ClassVar[str] = "function_execute_permission_missing"
    default: ClassVar[str] = "Guests may not run this function. Add the role any or guests to its execute roles."


class BuildFailed(DomainError):
    type: ClassVar[str] = "build_failed"
    default: ClassVar[str] = "The build of this deployment failed. Read its build log, and deploy again."


class BuildCanceled(DomainError):
    type: ClassVar[str] = "build_canceled"
    default: ClassVar[str] = "The build of this deployment was canceled. Deploy again."


class NoExecutor(DomainError):
    type: ClassVar[str] = "general_service_unavailable"
    default: ClassVar[str] = "No executor answers, so the available runtimes are unknown. Try again shortly."
    retry_after = 1


class HistoryNotReady(DomainError):
    type: ClassVar[str] = "history_not_ready"
    default: ClassVar[str] = "The state at that moment is not available yet. Try again shortly."
    retry_after = 1


class Damaged(DomainError):
    type: ClassVar[str] = "content_damaged"
    default: ClassVar[str] = "The stored content is damaged: its digest is not the recorded one."


class KeyDeleted(DomainError):
    type: ClassVar[str] = "data_key_deleted"
    default: ClassVar[str] = DataKeyDeleted.default


class QueryInvalid(DomainError):
    type: ClassVar[str] = "general_query_invalid"
    default: ClassVar[str] = "The query cannot be answered on this list."


class CursorNotFound(DomainError):
    type: ClassVar[str] = "general_cursor_not_found"
    default: ClassVar[str] = "The row that the cursor names was not found."


class QueryOrderNull(DomainError):
    type: ClassVar[str] = "database_query_order_null"
    default: ClassVar[str] = "The order attribute is null on the cursor's row. Order by another attribute."


class TemplateNotFound(DomainError):
    type: ClassVar[str] = "function_template_not_found"
    default: ClassVar[str] = "Function template with the requested ID could not be found."


class SynchronousTimeout(DomainError):
    type: ClassVar[str] = "function_synchronous_timeout"
    default: ClassVar[str] = (
        "Synchronous function execution timed out. Use an asynchronous execution, or bring the work below 30 seconds."
    )


class RequestTooSlow(DomainError):
    type: ClassVar[str] = "general_request_timeout"
    default: ClassVar[str] = "The request's body takes too long to arrive. Send it again, over a faster connection."


class UnreadableReply(DomainError):
    type: ClassVar[str] = "general_unknown"
    default: ClassVar[str] = (
        "Failed to parse response: the function's answer is not UTF-8 text."
        " Ask for it with Accept: multipart/form-data."
    )


class FileEmpty(DomainError):
    type: ClassVar[str] = "storage_file_empty"
    default: ClassVar[str] = "No file sent"


class FileTypeUnsupported(DomainError):
    type: ClassVar[str] = "storage_file_type_unsupported"
    default: ClassVar[str] = "The file's name must end in .gz: pack the code as a .tar.gz archive."


class FileInvalid(DomainError):
    type: ClassVar[str] = "storage_invalid_file"
    default: ClassVar[str] = "The part named code is not an uploaded file."


class ContentRangeInvalid(DomainError):
    type: ClassVar[str] = "storage_invalid_content_range"
    default: ClassVar[str] = "The Content-Range header must read: bytes <start>-<end>/<size>."


class FileTooLarge(DomainError):
    """Its wire type depends on the API version; see FileTooLargeFormerly."""

    type: ClassVar[str] = "deployment_invalid_file_size"
    default: ClassVar[str] = "The file is larger than this instance allows."


class FileTooLargeFormerly(FileTooLarge):
    type: ClassVar[str] = "storage_invalid_file_size"


class RangeInvalid(DomainError):
    type: ClassVar[str] = "storage_invalid_range"
    default: ClassVar[str] = "The requested range is not satisfiable."


class IdempotencyBudgetSpent(RateLimited):
    """A project or a caller has as many idempotency keys as it may."""

    type: ClassVar[str] = "idempotency_budget_spent"
    default: ClassVar[str] = "No more idempotency keys are kept. Send the request without one, or try again later."


class CheckpointNotFound(DomainError):
    type = "checkpoint_not_found"
    default = "Checkpoint with the requested size could not be found. List the checkpoints to see which there are."


class EventNotFound(DomainError):
    type = "event_not_found"
    default = "Event at the requested position could not be found in this project."


class EventNotSealed(DomainError):
    type = "event_not_sealed"
    default = "The event is newer than the checkpoint. Ask for a later checkpoint, or wait for the next one."
